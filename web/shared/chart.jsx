// chart.jsx -- lines, areas and stacked bars over time, drawn by uPlot.
//
// The chart is a picture with a sentence for a label; numbers stand beside it in tables, and whatever a drag does has
// buttons; the arrow keys go from value to value as the pointer does, and what is there is said. Colours are CSS variables, read when it is drawn, and again when the theme changes.
import { useEffect, useRef, useState } from 'preact/hooks';
import uPlot from 'uplot';
import 'uplot/dist/uPlot.min.css';
import { figure, when } from './format.jsx';

const colour = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

const part = (options) => new Intl.DateTimeFormat(undefined, { hourCycle: 'h23', ...options });
const clocks = {
	ms: part({ minute: '2-digit', second: '2-digit', fractionalSecondDigits: 3 }),
	s: part({ hour: '2-digit', minute: '2-digit', second: '2-digit' }),
	min: part({ hour: '2-digit', minute: '2-digit' }),
	day: part({ month: 'short', day: 'numeric' }),
};

// Ticks of the time axis: as fine as their distance asks for, the day where it begins.
function ticks(u, splits, axis, space, step) {
	let last = null;
	return splits.map((t) => {
		const date = new Date(t), day = date.toDateString(), fresh = last !== null && day !== last;
		last = day;
		if (step >= 86400000) return clocks.day.format(date);
		const text = clocks[step >= 60000 ? 'min' : step >= 1000 ? 's' : 'ms'].format(date);
		return fresh ? `${text}\n${clocks.day.format(date)}` : text;
	});
}

// What is drawn at each place is the sum of it and of all below it.
function stack(series) {
	let below = null;
	return series.map((s) => (below = s.values.map((v, i) => (v || 0) + (below ? below[i] : 0)))).reverse();
}

function options({ series, stacked, height, range, unit, onRange, marks, sync, axes }, width, latest) {
	const text = colour('--muted'), grid = colour('--line');
	const bars = uPlot.paths.bars({ size: [0.9, 60], align: 1 });
	const font = '12px system-ui, sans-serif';
	const drawn = (stacked ? [...series].reverse() : series).map((s) => {
		const c = colour(s.color);
		return {
			label: s.label, stroke: stacked ? undefined : c, width: s.width ?? (stacked ? 0 : 1.5), spanGaps: true,
			fill: stacked ? c : s.fill ? c + '22' : undefined, paths: stacked ? bars : undefined, dash: s.dash,
			points: { show: !stacked && s.values.length < 40, size: 5 },
		};
	});
	return {
		width, height, ms: 1, series: [{}, ...drawn],
		padding: axes === false ? [2, 0, 2, 0] : [10, 12, 0, 0],
		legend: { show: false },
		bands: series.flatMap((s, i) => (s.bandTo != null ? [{ series: [i + 1, s.bandTo + 1], fill: colour(s.color) + '66' }] : [])),
		scales: {
			x: { range: (u, min, max) => latest.current.range || [min, max] },
			y: { range: (u, min, max) => extent(min, max, stacked || series.some((s) => s.zero)) },
		},
		axes: axes === false ? [{ show: false }, { show: false }] : [
			{
				stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font, gap: 4, space: 80, values: ticks,
				size: (u, values) => ((values || []).some((v) => v.includes('\n')) ? 38 : 24),
			},
			{
				stroke: text, grid: { stroke: grid, width: 1 }, ticks: { show: false }, font, gap: 6,
				values: (u, splits) => splits.map((v) => figure(v)),
				size: (u, values) => Math.max(34, 14 + 7 * Math.max(0, ...(values || []).map((v) => v.length))),
			},
		],
		cursor: {
			y: false, points: { show: !stacked }, drag: { x: !!onRange, y: false, setScale: false },
			sync: sync ? { key: sync } : undefined,
		},
		hooks: {
			setSelect: [(u) => {
				if (u.select.width < 4) return;
				latest.current.onRange?.(Math.round(u.posToVal(u.select.left, 'x')),
					Math.round(u.posToVal(u.select.left + u.select.width, 'x')));
				u.setSelect({ left: 0, width: 0, top: 0, height: 0 }, false);
			}],
			setCursor: [(u) => latest.current.point(u.cursor.idx ?? null)],
			drawClear: [(u) => latest.current.marks?.forEach((m) => shade(u, m))],
		},
	};
}

function extent(min, max, zero) {
	if (min == null || max == null) return [0, 1];
	if (zero) min = Math.min(0, min);
	if (min === max) return min === 0 ? [0, 1] : [Math.min(0, min * 1.2), Math.max(0, max * 1.2)];
	const room = (max - min) * 0.08;
	return [min === 0 ? 0 : min - room, max + room];
}

// A stretch of time, or (without `until`) a moment: { from, until, color }.
function shade(u, { from, until, color }) {
	const { ctx, bbox } = u, [least, most] = [u.scales.x.min, u.scales.x.max];
	if (least == null || from > most || (until ?? from) < least) return;
	const x0 = u.valToPos(Math.max(from, least), 'x', true);
	const x1 = until == null ? x0 + 2 * devicePixelRatio : u.valToPos(Math.min(until, most), 'x', true);
	ctx.save();
	ctx.fillStyle = colour(color) + (until == null ? '' : '33');
	ctx.fillRect(x0, bbox.top, Math.max(x1 - x0, 2 * devicePixelRatio), bbox.height);
	ctx.restore();
}

// Where a key leads from a place: null, it is none of ours.
function step(key, at, length) {
	switch (key) {
	case 'ArrowLeft': return Math.max(0, (at ?? length) - 1);
	case 'ArrowRight': return Math.min(length - 1, (at ?? -1) + 1);
	case 'Home': return 0;
	case 'End': return length - 1;
	default: return null;
	}
}

// t: ms, ascending. series: [{ label, values, color: '--c1', fill, dash, width, bandTo: index of the series to which the
// space between is filled, zero: the axis has 0 }]. onRange(since, until): a stretch was dragged. range: [since, until].
export function Chart(props) {
	const { t, series, height = 180, label, range, stacked, legend = true, unit, marks } = props;
	const box = useRef(null), plot = useRef(null), latest = useRef({});
	const [at, point] = useState(null);
	const [focused, focus] = useState(false);
	const [theme, redraw] = useState(0);
	latest.current = { range, onRange: props.onRange, point, marks };
	const data = [t, ...(stacked ? stack(series) : series.map((s) => s.values))];
	const shape = JSON.stringify([series.map((s) => [s.label, s.color, s.bandTo, s.fill, s.values.length < 40]), height, theme, stacked,
		!!props.onRange]);

	useEffect(() => {
		const again = () => redraw((n) => n + 1);
		addEventListener('weir-theme', again);
		return () => removeEventListener('weir-theme', again);
	}, []);

	useEffect(() => {
		const u = new uPlot(options({ ...props, height }, box.current.clientWidth || 300, latest), data, box.current);
		plot.current = u;
		const watcher = new ResizeObserver(() => {
			if (box.current?.clientWidth) u.setSize({ width: box.current.clientWidth, height });
		});
		watcher.observe(box.current);
		return () => {
			watcher.disconnect();
			u.destroy();
			plot.current = null;
		};
	}, [shape]);

	useEffect(() => {
		plot.current?.setData(data);
	}, [t, series, range?.[0], range?.[1], marks]);

	const onKey = (e) => {
		const next = step(e.key, at, t.length);
		if (next == null || !t.length || e.altKey || e.ctrlKey || e.metaKey) return;
		e.preventDefault();
		plot.current.setCursor({ left: plot.current.valToPos(t[next], 'x'), top: 0 });
		point(next); // which may be nearer to the one before than a pixel
	};
	const leave = () => {
		focus(false);
		plot.current?.setCursor({ left: -10, top: -10 });
	};
	const shown = series.filter((s) => s.legend !== false);
	return (
		<figure class="chart">
			<div class="plot" ref={box} role="img" aria-label={label} tabIndex={0} onKeyDown={onKey} onFocus={() => focus(true)} onBlur={leave} />
			{focused && (
				<span class="hidden" role="status">
					{at != null && t[at] != null && [when(t[at], true), ...shown.map((s) => `${s.label} ${figure(s.values[at], unit)}`)].join(', ')}
				</span>
			)}
			{legend && (
				<figcaption aria-hidden="true">
					{shown.map((s) => (
						<span key={s.label} class="key"><i class={`swatch ${s.color.slice(2)}`} />{s.label}
							{at != null && <b>{figure(s.values[at], unit)}</b>}</span>
					))}
					{at != null && t[at] != null && <span class="key at">{when(t[at], true)}</span>}
				</figcaption>
			)}
		</figure>
	);
}
