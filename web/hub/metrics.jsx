// metrics.jsx -- the metrics of a session as charts, each reduced by the server to what can be seen.
import { useEffect, useMemo, useRef, useState } from 'preact/hooks';
import { get } from '../shared/api.js';
import { Chart } from '../shared/chart.jsx';
import { count, figure } from '../shared/format.jsx';
import { useLoad } from '../shared/load.js';
import { change } from '../shared/router.js';
import { Choices, Empty, Problem, Search, Waiting } from '../shared/ui.jsx';

const TYPES = ['gauge', 'counter', 'histogram', 'timer'];
// Percentiles want several samples for each point.
const POINTS = { timer: 80, histogram: 80 };
const AT_ONCE = 60; // charts; more by the button

// Which columns are drawn, for each type.
function seriesOf(p) {
	const line = (label, values, color, more) => ({ label, values: values || [], color, ...more });
	const tails = () => [line('p50', p.p50, '--c1'), line('p90', p.p90, '--c2'), line('p99', p.p99, '--c5')];
	switch (p.type) {
	case 'counter': return [line('per second', p.rate, '--c1', { fill: true, zero: true })];
	case 'histogram': return tails();
	case 'timer': return tails();
	default: return [
		line('max', p.max, '--c1-soft', { width: 1, bandTo: 1 }),
		line('min', p.min, '--c1-soft', { width: 1 }),
		line('mean', p.mean, '--c1', { width: 1.5 }),
	];
	}
}

// True from the moment on that the element comes near what can be seen.
function useSeen(ref) {
	const [seen, see] = useState(false);
	useEffect(() => {
		const watcher = new IntersectionObserver(([entry]) => entry.isIntersecting && see(true), { rootMargin: '300px' });
		watcher.observe(ref.current);
		return () => watcher.disconnect();
	}, []);
	return seen;
}

function Buckets({ buckets, unit }) {
	const most = Math.max(1, ...buckets.map((b) => b.count));
	return (
		<details class="buckets">
			<summary>Buckets</summary>
			<table aria-label="Buckets">
				<thead><tr><th scope="col">At most</th><th scope="col" class="right">Samples</th><th scope="col" class="hidden">Share</th></tr></thead>
				<tbody>
					{buckets.map((b, i) => (
						<tr key={i}>
							<td>{typeof b.le === 'number' ? figure(b.le, unit) : 'more'}</td>
							<td class="right">{count(b.count)}</td>
							<td><svg class="share" viewBox="0 0 100 6" preserveAspectRatio="none" aria-hidden="true">
								<rect width={(100 * b.count) / most} height="6" /></svg></td>
						</tr>
					))}
				</tbody>
			</table>
		</details>
	);
}

function Metric({ id, s, span, range }) {
	const card = useRef(null), seen = useSeen(card);
	const asked = { name: s.name, type: s.type, tag: s.tags, ...span, points: POINTS[s.type] || 160 };
	const { data, error, stale } = useLoad((signal) => (seen
		? get(`/api/data/sessions/${encodeURIComponent(id)}/series/points`, asked, signal) : Promise.resolve(null)),
	[seen, JSON.stringify(asked)], undefined, s.count);
	const series = useMemo(() => data && seriesOf(data), [data]);
	const isRate = s.type === 'counter';
	// What is known of a counter before its points are here are its totals, and they are no rates.
	const stats = (isRate ? data?.rate_stats : data?.stats || s) || {};
	const unit = isRate ? [s.unit, '/s'].filter(Boolean).join('') : s.unit;
	return (
		<article class="panel metric" ref={card} aria-label={`${s.type} ${s.name}`}>
			<header>
				<h3 class="break">{s.name}</h3>
				<span class="muted">{s.type}</span>
				<b class="last">{figure(s.last, s.unit)}</b>
			</header>
			{s.tags.length > 0 && <span class="tags">{s.tags.map((t) => <span key={t} class="tag">{t}</span>)}</span>}
			{error ? <Problem error={error} /> : !data ? <div class="space" /> : !data.t.length ? (
				<div class="space"><p class="muted">Nothing in this stretch of time</p></div>
			) : (
				<div class={stale ? 'stale' : undefined}>
					<Chart t={data.t} series={series} height={150} range={range} unit={unit} sync="metrics"
						label={`${s.type} ${s.name}: from ${figure(stats.min, unit)} to ${figure(stats.max, unit)}, mean ${figure(stats.mean, unit)}`} />
				</div>
			)}
			<dl class="stats">
				{[['min', stats.min], ['max', stats.max], ['mean', stats.mean], ['median', stats.median]].map(([name, value]) => (
					<div key={name}><dt>{name}</dt>
						<dd title={stats.exact === false ? 'An estimate' : undefined}>{stats.exact === false && '≈ '}{figure(value, unit)}</dd></div>
				))}
				<div><dt>samples</dt><dd>{count(data?.stats.count ?? s.count)}</dd></div>
			</dl>
			{data?.buckets?.length > 0 && <Buckets buckets={data.buckets} unit={unit} />}
		</article>
	);
}

// span: { since, until } of what is looked at, when that is not all; range: the same for the charts' axes.
// total: how many samples there are, which tells when to look again.
export function Metrics({ id, params, span, range, total }) {
	const [most, more] = useState(AT_ONCE);
	const { data, error, again } = useLoad(
		(signal) => get(`/api/data/sessions/${encodeURIComponent(id)}/series`, null, signal), [id], undefined, total);
	if (error) return <div class="pad"><Problem error={error} again={again} /></div>;
	if (!data) return <Waiting />;
	if (!data.items.length) return <Empty title="No metrics"><p>A program sends them with <code>POST /metric</code>.</p></Empty>;
	const types = params.type ? params.type.split(',') : [], text = (params.metric || '').toLowerCase();
	const shown = data.items.filter((s) => (!types.length || types.includes(s.type)) &&
		[s.name, ...s.tags].some((t) => t.toLowerCase().includes(text)));
	return (
		<>
			<form role="search" aria-label="Filters of metrics" class="fields pad" onSubmit={(e) => e.preventDefault()}>
				<Choices label="Type" options={TYPES.filter((t) => data.items.some((s) => s.type === t)).map((t) => [t, t])} value={types}
					onValue={(v) => change({ type: v.join(',') })} />
				<Search label="Name or tag" value={params.metric} onValue={(metric) => change({ metric }, true)} />
			</form>
			{shown.length ? (
				<div class="grid metrics">
					{shown.slice(0, most).map((s) => (
						<Metric key={JSON.stringify([s.name, s.type, s.tags])} id={id} s={s} span={span} range={range} />
					))}
				</div>
			) : <Empty title="No metric fits" />}
			{shown.length > most && (
				<div class="pager"><button type="button" class="button" onClick={() => more(most + AT_ONCE)}>
					Show more ({count(shown.length - most)})</button></div>
			)}
		</>
	);
}
