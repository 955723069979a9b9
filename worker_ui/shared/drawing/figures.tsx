/** Marks as SVG in screen pixels. Each line has a dark, wider line below it, to be visible on black and on white. */

import type { Point } from '../shapes/geometry';
import type { MarkShape, PlacedHandle } from './handles';
import { bounds, distance } from '../shapes/geometry';
import type { PlacedLabel } from './mark-labels';

/** Average distance of vertices in CSS pixels below which they are drawn small. */
const DENSE = 22;

interface FigureProps {
  readonly shape: MarkShape;
  /** On the screen. */
  readonly points: readonly Point[];
  readonly kind: string;
  readonly id?: string;
  readonly dash?: string;
  readonly open?: boolean;
}

export function Figure({ shape, points, kind, id, dash, open }: FigureProps) {
  return (
    <g class={`mark ${kind}`} data-mark={id} data-shape={shape}>
      <Outline shape={shape} points={points} name="halo" open={open} />
      <Outline shape={shape} points={points} name="line" dash={dash} open={open} />
    </g>
  );
}

interface OutlineProps {
  readonly shape: MarkShape;
  readonly points: readonly Point[];
  readonly name: string;
  readonly dash?: string | undefined;
  readonly open?: boolean | undefined;
}

function Outline({ shape, points, name, dash, open }: OutlineProps) {
  const common = { 'class': name, 'stroke-dasharray': dash };
  if (shape === 'polygon' && !open) return <polygon {...common} points={path(points)} />;
  if (shape === 'polygon' || shape === 'line') return <polyline {...common} points={path(points)} />;
  if (shape === 'point') return <Cross at={points[0] ?? [0, 0]} name={name} size={8} />;
  const { left, top, right, bottom } = bounds(points);
  const width = right - left,
    height = bottom - top;
  if (shape === 'rectangle') return <rect {...common} x={left} y={top} width={width} height={height} />;
  return <ellipse {...common} cx={left + width / 2} cy={top + height / 2} rx={width / 2} ry={height / 2} />;
}

function path(points: readonly Point[]): string {
  return points.map(([x, y]) => `${x},${y}`).join(' ');
}

function Cross({ at: [x, y], name, size }: { at: Point; name: string; size: number }) {
  return <path class={name} d={`M${x - size},${y}H${x + size}M${x},${y - size}V${y + size}`} />;
}

/** Short strokes across the ends of a length. */
export function Ends({ points, kind }: { points: readonly Point[]; kind: string }) {
  const [from, to] = points;
  if (!from || !to) return null;
  const long = Math.hypot(to[0] - from[0], to[1] - from[1]) || 1;
  const x = (-(to[1] - from[1]) / long) * 6,
    y = ((to[0] - from[0]) / long) * 6;
  const d = [from, to].map(([px, py]) => `M${px - x},${py - y}L${px + x},${py + y}`).join('');
  return (
    <g class={`mark ${kind}`}>
      <path class="halo" d={d} />
      <path class="line" d={d} />
    </g>
  );
}

/** Return the radius of vertex handles: small where vertices are as dense as on a freehand outline. */
function vertexRadius(handles: readonly PlacedHandle[]): number {
  const corners = handles.filter(({ handle }) => handle.kind === 'vertex').map(({ at }) => at);
  const long = corners.reduce((sum, at, index) => sum + distance(at, corners[(index + 1) % corners.length]!), 0);
  return corners.length > 3 && long / corners.length < DENSE ? 2 : 5;
}

export function Handles({ handles, held }: { handles: readonly PlacedHandle[]; held: PlacedHandle['handle'] | null }) {
  const radius = vertexRadius(handles);
  return (
    <g class="handles">
      {handles.map(({ handle, at: [x, y] }) => {
        const taken = JSON.stringify(handle) === JSON.stringify(held) ? ' taken' : '';
        const key = JSON.stringify(handle);
        if (handle.kind === 'edge') return <circle key={key} class={`handle edge${taken}`} cx={x} cy={y} r={3.5} />;
        if (handle.kind === 'vertex') return <circle key={key} class={`handle${taken}`} cx={x} cy={y} r={taken ? 5 : radius} />;
        return <rect key={key} class={`handle${taken}`} x={x - 4.5} y={y - 4.5} width={9} height={9} rx={1.5} />;
      })}
    </g>
  );
}

export function MarkLabel({ label: { text, box, id }, kind }: { label: PlacedLabel; kind: string }) {
  return (
    <g class={`tag ${kind}`} data-tag={id}>
      <rect x={box.left} y={box.top} width={box.right - box.left} height={box.bottom - box.top} rx={3} />
      <text x={box.left + 6} y={box.top + 13}>
        {text}
      </text>
    </g>
  );
}

/** The keyboard crosshair, open in the center. */
export function Crosshair({ at: [x, y] }: { at: Point }) {
  const d = `M${x - 26},${y}H${x - 5}M${x + 5},${y}H${x + 26}M${x},${y - 26}V${y - 5}M${x},${y + 5}V${y + 26}`;
  return (
    <g class="mark crosshair" data-crosshair>
      <path class="halo" d={d} />
      <path class="line" d={d} />
      <circle class="dot" cx={x} cy={y} r={1} />
    </g>
  );
}
