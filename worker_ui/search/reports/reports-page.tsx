/** The list of reports: search box, filters, charts, cards, pages. */

import { useEffect, useState } from 'preact/hooks';

import { FEW_REPORTS, searchReports } from '../api/search';
import type { Report } from '../api/types';
import type { Vocabulary } from '../api/fields';
import { Chips } from '../parts/chips';
import { useHost } from '../parts/host';
import { Pager } from '../parts/pager';
import { Status } from '../parts/status';
import { toggle, type Chosen, type ReportsPlace } from '../state/places';
import { useQuery } from '../state/use-query';
import { FacetColumn } from './facet-column';
import { ReportCard } from './report-card';

export function ReportsPage({ place }: { readonly place: ReportsPlace }) {
  const host = useHost();
  const { navigation, transport } = host;
  const [vocabulary, setVocabulary] = useState<Vocabulary>('labels');
  const key = JSON.stringify([place, vocabulary]);
  const { data, busy, error, again } = useQuery(
    key,
    (signal) => searchReports(transport, place, vocabulary, signal),
    navigation.typing,
  );
  useEffect(() => {
    if (data) host.onHits('reports', data.reports);
  }, [data]);

  const go = (changes: Partial<ReportsPlace>): void => navigation.go({ ...place, cursors: [], ...changes });
  const onToggle = (one: Chosen): void => go({ chosen: toggle(place.chosen, one) });
  const nameOf = ({ field, value }: Chosen): string =>
    data?.facets.find((facet) => facet.field === field)?.buckets.find((bucket) => bucket.value === value)?.name ?? value;
  const asked = place.text !== '' || place.like !== '' || place.chosen.length > 0;
  const found = data ? `${data.total.toLocaleString('en-US')} ${data.total === 1 ? 'report' : 'reports'}` : '';
  return (
    <div class="reports-page">
      {place.like !== '' && (
        <p class="like">
          Reports similar to <strong>{place.like}</strong>{' '}
          <button type="button" onClick={() => go({ like: '' })}>
            Show all reports
          </button>
        </p>
      )}
      <Chips chosen={place.chosen} nameOf={nameOf} onRemove={onToggle} onClear={() => go({ chosen: [] })} />
      <Status busy={busy} error={error} found={found} none={data?.total === 0} onAgain={again} />
      {data && data.total > 0 && (
        <div class={`with-facets${busy ? ' stale' : ''}`} aria-busy={busy}>
          <FacetColumn
            facets={data.facets}
            vocabulary={vocabulary}
            chosen={place.chosen}
            onVocabulary={setVocabulary}
            onToggle={onToggle}
          />
          <section class="results" aria-label={asked ? 'Reports found' : 'All reports, the newest first'}>
            <Cards reports={data.reports} onLike={(id) => go({ like: id, text: '', chosen: [] })} />
            <Pager
              page={place.cursors.length}
              size={FEW_REPORTS}
              shown={data.reports.length}
              total={data.total}
              more={data.cursor !== ''}
              onPrevious={() => navigation.go({ ...place, cursors: place.cursors.slice(0, -1) })}
              onNext={() => navigation.go({ ...place, cursors: [...place.cursors, data.cursor] })}
            />
          </section>
        </div>
      )}
    </div>
  );
}

function Cards({ reports, onLike }: { readonly reports: readonly Report[]; readonly onLike: (id: string) => void }) {
  return (
    <>
      {reports.map((report) => (
        <ReportCard key={report.id} report={report} onLike={onLike} />
      ))}
    </>
  );
}
