/** List of regions and measurements, with their finding, size and actions. */

import { useEffect, useRef } from 'preact/hooks';

import { LIMITS } from '../answer/form';
import { centerOn } from '../state/viewport-commands';
import { select } from '../state/marks';
import { measuredText } from '../shapes/measure';
import type { Store } from '../state/store';
import type { RadiographImage } from '../pixels/radiograph-image';
import type { Region } from '../state/types';
import type { Shape } from '../shapes/geometry';
import { PLACES } from '../input/focus';
import { Icon, NumberField, preventEnter } from './controls';
import { removeSelected, toggleHidden } from '../state/marks';
import { boxOf, edited, sizeText, type Box } from './region-size';

const SHAPES: Readonly<Record<Shape, string>> = {
  rectangle: 'M3 5h14v10H3z',
  ellipse: 'M10 5a7.500 5 0 1 0 0 10 7.500 5 0 1 0 0-10z',
  polygon: 'M4 6l7-3 6 6-3 8-9-2z',
  point: 'M10 3v14M3 10h14',
};
const EYE = 'M2 10s3-5 8-5 8 5 8 5-3 5-8 5-8-5-8-5zM10 7.800a2.200 2.200 0 1 0 0 4.400 2.200 2.200 0 1 0 0-4.400';
const BIN = 'M4 6h12M8 6V4h4v2M5.500 6l.7 10h7.600l.7-10M8.500 9v4.500M11.500 9v4.500';
const TARGET = 'M10 2v4M10 14v4M2 10h4M14 10h4M10 6a4 4 0 1 0 0 8 4 4 0 1 0 0-8z';

/** Used until the image is loaded. */
const NO_SCALE = { spacing_mm: null, spacingAt: null, pixelAspect: 1 } as const;

export function Regions({ store }: { store: Store }) {
  const { regions } = store.reading;
  const { regionsShown, viewports } = store.ui;
  const detector = viewports[0]?.image?.spacingAt === 'detector';
  return (
    <section class="regions" aria-label="Regions">
      <div class="bar">
        <h2>
          Regions{' '}
          <span class="count">
            {regions.length || ''}
            {regions.length > 0 && detector && ', mm on the detector'}
          </span>
        </h2>
        {regions.length > 0 && (
          <button
            type="button"
            class="plain"
            aria-pressed={!regionsShown}
            aria-keyshortcuts="Y"
            title="Hide or show all regions (Y)"
            onClick={() => store.set({ regionsShown: !regionsShown })}
          >
            Hide all
          </button>
        )}
      </div>
      {regions.length === 0 && <p class="nothing">{nothing(store)}</p>}
      {regions.length > 0 && (
        <ol>
          {regions.map((region, index) => (
            <Row key={region.id} store={store} region={region} index={index} />
          ))}
        </ol>
      )}
      <Measurements store={store} />
    </section>
  );
}

function nothing(store: Store): string {
  const label = store.ui.activeLabel;
  return label === null ? 'None. Pick a finding, then draw with R, E, G or F.' : `None. R, E, G or F draws one for ${label}.`;
}

interface RowProps {
  readonly store: Store;
  readonly region: Region;
  readonly index: number;
}

function Row({ store, region, index }: RowProps) {
  const image = store.ui.viewports[0]?.image ?? null;
  const selected = store.ui.selected === region.id;
  const hidden = store.ui.hiddenRegions.has(region.id);
  const missing = region.label === '' || store.ui.complaints.some(({ at }) => at === region.id);
  const { px, mm } = sizeText(region, image);
  const name = `region ${index + 1}`;
  const line = useRef<HTMLLIElement>(null);
  useEffect(() => {
    if (selected) line.current?.scrollIntoView?.({ block: 'nearest' });
  }, [selected]);
  return (
    <li
      ref={line}
      class={`region${selected ? ' active' : ''}${missing ? ' missing' : ''}${hidden ? ' faint' : ''}`}
      aria-current={selected ? 'true' : undefined}
    >
      <div class="line">
        <button
          type="button"
          class="plain number"
          aria-label={`Go to ${name}`}
          title={`Go to ${name}: ${region.shape}, ${px}${mm && `, ${mm}`}`}
          onClick={() => goTo(store, region)}
        >
          <Icon path={SHAPES[region.shape]} />
          {index + 1}
        </button>
        <BoundFinding store={store} region={region} index={index} />
        <span class="size" title={`${region.shape}, ${px}${mm && `, ${mm}`}`}>
          {mm ? mm.replace(' on detector', '') : px}
        </span>
        <button
          type="button"
          class="plain"
          aria-label={`Hide ${name}`}
          aria-pressed={hidden}
          title={hidden ? `Show ${name}` : `Hide ${name}`}
          onClick={() => toggleHidden(store, region.id)}
        >
          <Icon path={hidden ? `${EYE}M3 17L17 3` : EYE} />
        </button>
        <button
          type="button"
          class="plain"
          aria-label={`Delete ${name}`}
          title={`Delete ${name} (Delete)`}
          onClick={() => remove(store, region.id)}
        >
          <Icon path={BIN} />
        </button>
      </div>
      {(selected || region.comment !== '') && <RegionComment store={store} region={region} index={index} />}
      {selected && (region.shape === 'rectangle' || region.shape === 'ellipse') && (
        <Numbers store={store} region={region} index={index} image={image} />
      )}
    </li>
  );
}

function BoundFinding({ store, region, index }: RowProps) {
  const offered = store.task.findings
    .filter(({ label, region: may }) => may !== 'none' || label === region.label)
    .map(({ label }) => label);
  const strange = region.label !== '' && !offered.includes(region.label);
  return (
    <select
      id={`panel-region-${index}`}
      aria-label={`Finding of region ${index + 1}`}
      value={region.label}
      aria-invalid={region.label === ''}
      onChange={(event) => {
        store.dispatch({ kind: 'relabel-region', id: region.id, label: event.currentTarget.value });
        select(store, region.id);
      }}
    >
      {region.label === '' && (
        <option value="" disabled>
          Which finding?
        </option>
      )}
      {strange && <option value={region.label}>{region.label}</option>}
      {offered.map((label) => (
        <option key={label} value={label}>
          {label}
        </option>
      ))}
    </select>
  );
}

function RegionComment({ store, region, index }: RowProps) {
  return (
    <input
      type="text"
      class="region-comment"
      aria-label={`Comment on region ${index + 1}`}
      placeholder="Comment on this region"
      maxLength={LIMITS.regionComment}
      value={region.comment}
      autocomplete="off"
      onKeyDown={preventEnter}
      onInput={(event) =>
        store.dispatch({ kind: 'comment-region', id: region.id, comment: event.currentTarget.value }, `comment:${region.id}`)
      }
    />
  );
}

const FIELDS: readonly (readonly [field: keyof Box, sign: string, name: string])[] = [
  ['x', 'x', 'Left edge'],
  ['y', 'y', 'Top edge'],
  ['width', 'w', 'Width'],
  ['height', 'h', 'Height'],
];

function Numbers({ store, region, index, image }: RowProps & { image: RadiographImage | null }) {
  const box = boxOf(region.points);
  const change = (field: keyof Box, value: number): void => {
    const points = edited(region, field, value, image);
    if (points) store.dispatch({ kind: 'move-region', id: region.id, points }, `number:${region.id}:${field}`);
  };
  return (
    <div class="numbers" role="group" aria-label={`Place of region ${index + 1} in pixels`}>
      {FIELDS.map(([field, sign, name]) => (
        <NumberField
          key={field}
          sign={sign}
          name={`${name} of region ${index + 1}, px`}
          value={box[field]}
          least={field === 'x' || field === 'y' ? 0 : 1}
          onValue={(value) => change(field, value)}
        />
      ))}
    </div>
  );
}

function Measurements({ store }: { store: Store }) {
  const image = store.ui.viewports[0]?.image ?? null;
  const { measurements } = store.reading;
  if (measurements.length === 0) return null;
  return (
    <>
      <h2>Measurements</h2>
      <ol aria-label="Measurements">
        {measurements.map((one, index) => (
          <li
            key={one.id}
            class={`region${store.ui.selected === one.id ? ' active' : ''}`}
            aria-current={store.ui.selected === one.id ? 'true' : undefined}
          >
            <div class="line">
              <button
                type="button"
                class="plain number"
                aria-label={`Go to measurement ${index + 1}`}
                title={`Go to measurement ${index + 1}`}
                onClick={() => store.set({ selected: one.id })}
              >
                <Icon path={TARGET} />
                {index + 1}
              </button>
              <span class="value">
                {one.kind === 'length' ? 'Length' : 'Angle'} <b>{measuredText(one, image ?? NO_SCALE)}</b>
              </span>
              <button
                type="button"
                class="plain"
                aria-label={`Delete measurement ${index + 1}`}
                title={`Delete measurement ${index + 1} (Delete)`}
                onClick={() => remove(store, one.id)}
              >
                <Icon path={BIN} />
              </button>
            </div>
          </li>
        ))}
      </ol>
    </>
  );
}

function goTo(store: Store, region: Region): void {
  const hidden = new Set(store.ui.hiddenRegions);
  hidden.delete(region.id);
  store.set({ regionsShown: true, hiddenRegions: hidden });
  select(store, region.id);
  centerOn(store, region);
}

/** The focused button disappears with its row: focus the findings rather than the top of the page. */
function remove(store: Store, id: string): void {
  store.set({ selected: id });
  removeSelected(store);
  document.querySelector<HTMLElement>(`#${PLACES.findings} [tabindex="0"]`)?.focus({ preventScroll: true });
}
