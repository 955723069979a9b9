/** One image: large, with its report, and what is similar to it. */

import { useEffect, useId, useRef, useState } from 'preact/hooks';

import { openImage, similarityMap } from '../api/search';
import type { ImageSummary, Report } from '../api/types';
import { FindingColumns } from '../parts/finding-columns';
import { useHost } from '../parts/host';
import { altOf, dateOf, ImageLink } from '../parts/image-link';
import { SectionText } from '../reports/report-card';
import { START, type ImagePlace } from '../state/places';
import { useQuery } from '../state/use-query';
import { tells } from './heat';
import { SimilarList } from './similar-list';
import { Viewer } from './viewer';

interface Props {
  readonly place: ImagePlace;
  /** Whether the service says why two images are similar. */
  readonly explains: boolean;
}

export function ImagePage({ place, explains }: Props) {
  const host = useHost();
  const { navigation, transport } = host;
  const [other, setOther] = useState('');
  const [view, setView] = useState('');
  const asked = useQuery(
    JSON.stringify([place, place.sameView && view]),
    (signal) => openImage(transport, place, view, signal),
    navigation.typing,
  );
  const { data, busy, error } = asked;
  const shown = data?.image.id === place.id ? data : null;
  useEffect(() => {
    if (shown) setView(shown.image.viewPosition);
    if (shown)
      host.onHits(
        'images',
        shown.similar.hits.map(({ image, score }) => ({ id: image.id, score })),
      );
  }, [shown]);
  useEffect(() => setOther(''), [place.id]);

  return (
    <div class="image-page">
      <button type="button" class="back" onClick={() => (navigation.depth > 0 ? navigation.back() : navigation.go(START))}>
        ‹ Back
      </button>
      {!shown && !busy && !error && <p class="status none">There is no image {place.id} in this index.</p>}
      <div class="image-head">
        <Comparison id={place.id} other={other} image={shown?.image ?? null} onClose={() => setOther('')} />
        {shown && (
          <div class="image-facts">
            <Metadata image={shown.image} />
            {shown.report ? (
              <ReportOf report={shown.report} id={place.id} />
            ) : (
              <p class="quiet">There is no report of this image.</p>
            )}
          </div>
        )}
      </div>
      <SimilarList
        place={place}
        asked={shown || busy || error ? { ...asked, data: shown } : asked}
        explained={other}
        onExplain={explains ? (id) => setOther(id === other ? '' : id) : null}
      />
    </div>
  );
}

const EXPLANATION =
  'Colored regions add most to the similarity: there the network sees the same in both, which need not be where a finding is.';

interface ComparisonProps {
  readonly id: string;
  readonly other: string;
  readonly image: ImageSummary | null;
  readonly onClose: () => void;
}

/** The image, and beside it the one that it is compared with, each with the regions that make them similar on request. */
function Comparison({ id, other, image, onClose }: ComparisonProps) {
  const { transport } = useHost();
  const [colored, setColored] = useState(true);
  const note = useRef<HTMLParagraphElement>(null);
  useEffect(() => {
    if (!other) return undefined;
    const from = document.activeElement; // the button of a hit, which may stand far below
    note.current?.closest('.comparison')?.scrollIntoView({ block: 'nearest' });
    note.current?.focus({ preventScroll: true });
    return () => {
      if (from instanceof HTMLElement && from.isConnected) from.focus();
    };
  }, [other]);
  const { data, busy, error } = useQuery(other && `${id} ${other}`, async (signal) => ({
    here: await similarityMap(transport, id, other, signal),
    there: await similarityMap(transport, other, id, signal),
  }));
  const mapped = [data?.here, data?.there].some((map) => map && tells(map.values));
  return (
    <div class={`comparison${other ? ' two' : ''}`}>
      <Viewer id={id} alt={image ? altOf(image) : 'Image'} overlay={other && colored ? (data?.here ?? null) : null} />
      {other && <Viewer id={other} alt="The similar image" overlay={colored ? (data?.there ?? null) : null} label="Similar image" />}
      {other && (
        <div class="comparison-note">
          <p ref={note} role="status" tabIndex={-1}>
            {busy ? 'Comparing…' : error ? error.message : mapped ? EXPLANATION : 'No region adds more to the similarity than others.'}
          </p>
          {mapped && (
            <>
              <span class="heat-scale">
                less <span class="heat-colors" aria-hidden="true" /> more
              </span>
              <button type="button" aria-pressed={!colored} onClick={() => setColored(!colored)}>
                Hide colors
              </button>
            </>
          )}
          <button type="button" onClick={onClose}>
            Close comparison
          </button>
        </div>
      )}
    </div>
  );
}

function Metadata({ image }: { readonly image: ImageSummary }) {
  const { modality, bodyPart, viewPosition, laterality, sex, studyDate, rows, columns, id, uploaded } = image;
  const facts = [
    ['Study date', dateOf(studyDate)],
    ['Modality', modality],
    ['Body part', bodyPart],
    ['View', viewPosition],
    ['Laterality', laterality],
    ['Sex', sex],
    ['Size', rows > 0 ? `${columns} × ${rows}` : ''],
    ['SOP Instance UID', uploaded ? 'uploaded, not in the index' : id],
  ] as const;
  return (
    <dl class="metadata">
      {facts
        .filter(([, value]) => value !== '')
        .map(([name, value]) => (
          <div key={name}>
            <dt>{name}</dt>
            <dd>{value}</dd>
          </div>
        ))}
    </dl>
  );
}

function ReportOf({ report, id }: { readonly report: Report; readonly id: string }) {
  const labelId = useId();
  const order = ['impression', 'findings'];
  const rank = (name: string): number => (order.includes(name) ? order.indexOf(name) : order.length);
  const sections = [...report.sections].sort((one, other) => rank(one.name) - rank(other.name));
  const others = report.images.filter((image) => image.id !== id);
  return (
    <section class="image-report" aria-labelledby={labelId}>
      <h2 id={labelId}>
        Report <span class="quiet report-id">{report.id}</span>
      </h2>
      {sections.map((section) => (
        <SectionText key={section.name} section={section} />
      ))}
      <FindingColumns findings={report.findings} id={labelId} />
      {others.length > 0 && (
        <>
          <h4>Other images of this report</h4>
          <div class="report-images">
            {others.map((image) => (
              <ImageLink key={image.id} image={image} />
            ))}
          </div>
        </>
      )}
    </section>
  );
}
