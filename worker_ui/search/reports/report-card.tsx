/** One report of the list: impression, images, findings, and the rest of its text on request. */

import { useId } from 'preact/hooks';

import type { Report, Section } from '../api/types';
import { FindingColumns } from '../parts/finding-columns';
import { Highlighted } from '../parts/highlighted';
import { dateOf, ImageLink } from '../parts/image-link';

const TITLES: Readonly<Record<string, string>> = { findings: 'Findings', impression: 'Impression' };

interface Props {
  readonly report: Report;
  readonly onLike: (id: string) => void;
}

export function ReportCard({ report, onLike }: Props) {
  const id = useId();
  const first = leading(report.sections);
  const others = report.sections.filter((one) => one !== first);
  return (
    <article class="report" aria-labelledby={id}>
      <header>
        <h3 id={id}>
          {dateOf(report.studyDate) || 'Undated study'} <span class="quiet report-id">{report.id}</span>
        </h3>
        <button type="button" class="plain" onClick={() => onLike(report.id)}>
          Similar reports
        </button>
      </header>
      <div class="report-body">
        {report.images.length > 0 && (
          <div class="report-images">
            {report.images.map((image) => (
              <ImageLink key={image.id} image={image}>
                {image.viewPosition && <figcaption>{image.viewPosition}</figcaption>}
              </ImageLink>
            ))}
          </div>
        )}
        <div class="report-text">
          {first && <SectionText section={first} />}
          {others.length > 0 && (
            <details open={others.some(({ marks }) => marks.length > 0)}>
              <summary>Whole report</summary>
              {others.map((section) => (
                <SectionText key={section.name} section={section} />
              ))}
            </details>
          )}
          <FindingColumns findings={report.findings} id={id} />
        </div>
      </div>
    </article>
  );
}

export function SectionText({ section: { name, text, marks } }: { readonly section: Section }) {
  return (
    <div class="section">
      <h4>{TITLES[name] ?? `${name.charAt(0).toUpperCase()}${name.slice(1)}`}</h4>
      <p>
        <Highlighted text={text} marks={marks} />
      </p>
    </div>
  );
}

/** The impression; without one the findings; without these whatever there is. */
function leading(sections: readonly Section[]): Section | undefined {
  const named = (name: string): Section | undefined => sections.find((one) => one.name === name && one.text.trim() !== '');
  return named('impression') ?? named('findings') ?? sections[0];
}
