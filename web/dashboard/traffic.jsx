// traffic.jsx -- what each service answered during the last hour: sums, and two charts each.
import { useMemo } from 'preact/hooks';
import { count, duration, percent } from '../shared/format.jsx';
import { Chart } from '../shared/chart.jsx';
import { Facts } from '../shared/ui.jsx';

const HOUR = 3600000;
const LEAST = 300000; // so much is shown of a daemon that has just begun
const LEAST_SECONDS = 5; // of the slot that is open: a rate of less is noise

// Each slot's count as a number a minute; none where the slot is too short to tell.
const rate = (values, seconds) => values.map((v, i) => (seconds[i] < LEAST_SECONDS ? null : 60 * v / seconds[i]));

// How requests were answered, from the store outwards. `offline` is a part of the hits.
function answers(s, seconds) {
	if (!s.hits) return [{ label: 'requests a minute', color: '--c1', values: rate(s.requests, seconds) }];
	const offline = s.hits.map((hits, i) => Math.min(hits, s.offline[i]));
	const known = s.hits.map((hits, i) => hits + s.refreshed[i] + s.misses[i]);
	return [
		['from the cache', '--c1', s.hits.map((hits, i) => hits - offline[i])],
		['from the cache, upstream away', '--c2', offline],
		['unchanged upstream', '--c3', s.refreshed],
		['fetched', '--c4', s.misses],
		['others', '--c6', s.requests.map((all, i) => Math.max(0, all - known[i]))],
	].map(([label, color, values]) => ({ label, color, values: rate(values, seconds) }));
}

// Two digits are what a bucket is worth.
const ms = (v) => (v == null ? '–' : v >= 10000 ? duration(v) : `${count(Number(v.toPrecision(2)))} ms`);

// t: when each slot began, as a bar stands to the right of its time.
function Service({ s, t, seconds, range }) {
	const length = range[1] - range[0], ago = `over the last ${length === HOUR ? 'hour' : duration(length)}`;
	return (
		<article class="panel pad service" aria-label={`${s.name}, last hour`}>
			<h3 class="break">{s.name}</h3>
			<Facts rows={[
				['Requests', count(s.sum.requests)],
				['Errors', count(s.sum.errors)],
				['Hit rate', s.sum.hit_rate === undefined ? null : percent(s.sum.hit_rate)],
				['Median', ms(s.sum.p50_ms)],
				['99th percentile', ms(s.sum.p99_ms)],
				['Offline', s.sum.offline === undefined ? null : count(s.sum.offline)],
				['Stale', s.sum.stale === undefined ? null : count(s.sum.stale)],
			]} />
			<Chart t={t} range={range} height={120} stacked={!!s.hits} series={answers(s, seconds)}
				label={`Requests a minute to ${s.name} ${ago}, by how they were answered`} />
			<Chart t={t} range={range} height={100} label={`Milliseconds that answers of ${s.name} took ${ago}`} series={[
				{ label: 'median, ms', color: '--c1', values: s.p50_ms, zero: true },
				{ label: '99th percentile, ms', color: '--c4', values: s.p99_ms, zero: true },
			]} />
		</article>
	);
}

export function Traffic({ history: { t, seconds, services } }) {
	const began = useMemo(() => t.map((end, i) => end - 1000 * seconds[i]), [t]), now = t[t.length - 1];
	// A daemon that is younger than an hour has no more to show than its life.
	const range = [now - Math.min(HOUR, Math.max(LEAST, now - began[0])), now];
	return (
		<section class="section" aria-labelledby="traffic">
			<h2 id="traffic">Services, last hour</h2>
			<div class="grid">
				{services.map((s) => <Service key={s.name} s={s} t={began} seconds={seconds} range={range} />)}
			</div>
		</section>
	);
}
