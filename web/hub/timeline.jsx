// timeline.jsx -- what happened when: events by level, hangs shaded; drag, or use the buttons, to look at less.
//
// The stretch that is looked at holds for everything of the session: events, metrics, the slider of the state.
import { useMemo } from 'preact/hooks';
import { Chart } from '../shared/chart.jsx';
import { count, duration, exact, plural, when } from '../shared/format.jsx';
import { change } from '../shared/router.js';
import { Button } from '../shared/ui.jsx';
import { levelColour } from './parts.jsx';

const ORDER = ['debug', 'info', 'warning', 'error', 'critical']; // from below
const LEAST_MS = 20;

export const look = (range) => change({ since: range ? exact(range[0]) : '', until: range ? exact(range[1]) : '', from: '' });

// whole: the session's [since, until]; zoomed: whether less is looked at.
function Zoom({ range, whole, zoomed }) {
	const [since, until] = range, span = until - since, middle = (since + until) / 2;
	const to = (a, b) => {
		const from = Math.max(whole[0], Math.round(a)), end = Math.min(whole[1], Math.round(b));
		look(from <= whole[0] && end >= whole[1] ? null : [from, Math.max(end, from + LEAST_MS)]);
	};
	return (
		<div class="buttons" role="group" aria-label="Stretch of time">
			<Button kind="small" icon="left" label="Earlier" disabled={since <= whole[0]}
				onClick={() => to(since - Math.min(span / 2, since - whole[0]), until - Math.min(span / 2, since - whole[0]))} />
			<Button kind="small" icon="right" label="Later" disabled={until >= whole[1]}
				onClick={() => to(since + Math.min(span / 2, whole[1] - until), until + Math.min(span / 2, whole[1] - until))} />
			<Button kind="small" icon="plus" label="Zoom in" disabled={span <= 2 * LEAST_MS}
				onClick={() => to(middle - span / 4, middle + span / 4)} />
			<Button kind="small" icon="minus" label="Zoom out" disabled={!zoomed} onClick={() => to(middle - span, middle + span)} />
			<Button kind="small" icon="all" disabled={!zoomed} onClick={() => look(null)}>All</Button>
		</div>
	);
}

export function Timeline({ data, whole, zoomed, at }) {
	const shown = useMemo(() => {
		const found = Object.keys(data.levels).filter((level) => data.levels[level].some(Boolean));
		const order = [...ORDER.filter((l) => found.includes(l)), ...found.filter((l) => !ORDER.includes(l))];
		const buckets = data.updates.length || 1;
		const t = Array.from({ length: buckets }, (_, i) => data.since + i * data.step_ms);
		const series = order.map((level) => ({ label: level || 'none', values: data.levels[level], color: levelColour(level) }));
		// uPlot draws no empty chart: an axis without a bar is what there is to see.
		if (!series.length) series.push({ label: 'events', values: t.map(() => 0), color: '--level-info' });
		const totals = series.map((s) => `${count(s.values.reduce((a, b) => a + b, 0))} ${s.label}`);
		return { t, series, label: `Events from ${when(data.since)} to ${when(data.until)}: ${totals.join(', ')}` };
	}, [data]);
	const outside = data.outside.before + data.outside.after;
	const marks = useMemo(() => [
		...data.hangs.map((h) => ({ from: h.from, until: h.until ?? data.until, color: '--hang' })),
		...(at != null ? [{ from: at, color: '--accent' }] : []),
	], [data, at]);
	return (
		<section class="panel timeline" aria-label="Timeline">
			<header>
				<h2>Timeline</h2>
				<span class="muted">
					{when(data.since)} – {when(data.until)} ({duration(data.until - data.since)}){data.hangs.length > 0 && (
						<><i class="swatch hang" /> hung</>
					)}
					{!zoomed && outside > 0 && <> · {plural(outside, 'event')} dated far from it</>}
				</span>
				<Zoom range={[data.since, data.until]} whole={whole} zoomed={zoomed} />
			</header>
			<Chart t={shown.t} series={shown.series} label={shown.label} stacked height={132} range={[data.since, data.until]} marks={marks}
				onRange={(a, b) => b - a >= LEAST_MS && look([a, b])} />
		</section>
	);
}
