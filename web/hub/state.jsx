// state.jsx -- the state of a session: now, or as of any moment, and what each update changed.
import { useEffect, useRef, useState } from 'preact/hooks';
import { get } from '../shared/api.js';
import { count, exact, plural, Time, when } from '../shared/format.jsx';
import { useLoad } from '../shared/load.js';
import { change } from '../shared/router.js';
import { Button, Empty, Field, Problem, Waiting } from '../shared/ui.jsx';
import { Tree } from './parts.jsx';

// Updates come with the whole state after each: fewer of them at a time when that is large.
const MOST = 20, LEAST = 2, PAGE_CHARS = 300000;

const at = (t, replace) => change({ at: t == null ? '' : exact(t) }, replace);

// The reader's zone, to the millisecond, as a field takes it.
function local(t) {
	const d = new Date(t);
	return new Date(d - d.getTimezoneOffset() * 60000).toISOString().slice(0, 23);
}

// Top-level keys that differ.
function changed(before, after) {
	const keys = new Set([...Object.keys(before), ...Object.keys(after)]);
	return [...keys].filter((k) => JSON.stringify(before[k]) !== JSON.stringify(after[k]));
}

function Slider({ range, moment, onMoment }) {
	const [shown, show] = useState(moment);
	const timer = useRef(0);
	useEffect(() => show(moment), [moment]);
	useEffect(() => () => clearTimeout(timer.current), []);
	const slide = (t) => {
		show(t);
		clearTimeout(timer.current);
		timer.current = setTimeout(() => onMoment(t, true), 120);
	};
	const value = shown ?? range[1];
	return (
		<>
			<Field label="Moment" class="grow">
				<input type="range" min={range[0]} max={range[1]} step={Math.max(1, Math.round((range[1] - range[0]) / 1000))} value={value}
					aria-valuetext={shown == null ? 'now' : when(shown)} onInput={(e) => slide(Number(e.currentTarget.value))} />
			</Field>
			<Field label="Time">
				<input type="datetime-local" step="0.001" value={local(value)}
					onChange={(e) => e.currentTarget.value && onMoment(new Date(e.currentTarget.value).getTime(), false)} />
			</Field>
		</>
	);
}

function Updates({ id, total, place, size }) {
	const [most] = useState(() => Math.max(LEAST, Math.min(MOST, Math.floor(PAGE_CHARS / size)))); // stays, whatever moment is looked at
	const [page, turn] = useState(0);
	const end = Math.max(0, total - page * most), begin = Math.max(0, end - most);
	const from = Math.max(0, begin - 1); // the one before the first tells what the first changed
	const { data, error } = useLoad((signal) => (total
		? get(`/api/data/sessions/${encodeURIComponent(id)}/history`, { from, limit: end - from }, signal) : Promise.resolve([])),
	[id, from, end]);
	if (error) return <Problem error={error} />;
	if (!data) return <Waiting />;
	const rows = data.map((u, i) => ({ ...u, place: from + i, before: data[i - 1]?.state })).filter((u) => u.place >= begin).reverse();
	return (
		<>
			<ol class="updates" aria-label="Updates of the state">
				{rows.map((u) => (
					<li key={u.place}>
						<button type="button" aria-current={u.place === place ? 'true' : undefined} onClick={() => at(u.timestamp)}>
							<Time t={u.timestamp} millis class="mono" />
							<span class="break">{u.before ? changed(u.before, u.state).join(', ') || 'nothing' : 'the first'}</span>
						</button>
					</li>
				))}
			</ol>
			{total > most && (
				<div class="pager">
					<span class="muted">{count(begin + 1)} to {count(end)} of {count(total)}</span>
					<span class="buttons">
						<Button kind="small" disabled={!page} onClick={() => turn(page - 1)}>Later</Button>
						<Button kind="small" disabled={!begin} onClick={() => turn(page + 1)}>Earlier</Button>
					</span>
				</div>
			)}
		</>
	);
}

// range: the session's time; total: updates so far; live: it may still change.
export function State({ id, params, range, total }) {
	const asked = Date.parse(params.at), moment = Number.isNaN(asked) ? null : asked;
	const path = `/api/data/sessions/${encodeURIComponent(id)}`;
	const { data, error, stale } = useLoad(async (signal) => {
		const now = await get(`${path}/state`, { at: params.at }, signal);
		// The one before it: what did it change? And the ways to its neighbours.
		const near = total ? await get(`${path}/history`, { from: Math.max(0, (now.place ?? 0) - 1), limit: 3 }, signal) : [];
		const first = Math.max(0, (now.place ?? 0) - 1), of = (place) => near[place - first];
		return {
			...now, size: JSON.stringify(now.state).length, before: now.place == null ? null : of(now.place - 1)?.state,
			previous: now.place ? of(now.place - 1)?.timestamp : null,
			next: now.place == null ? of(0)?.timestamp : of(now.place + 1)?.timestamp,
		};
	}, [id, params.at], undefined, total);
	if (error) return <div class="pad"><Problem error={error} /></div>;
	if (!data) return <Waiting />;
	const keys = data.before && new Set(changed(data.before, data.state));
	return (
		<div class={`state${stale ? ' stale' : ''}`}>
			<div class="fields pad">
				<Slider range={range} moment={moment} onMoment={at} />
				<div class="buttons">
					<Button kind="small" icon="left" label="Previous update" disabled={data.previous == null} onClick={() => at(data.previous)} />
					<Button kind="small" icon="right" label="Next update" disabled={data.next == null} onClick={() => at(data.next)} />
					<Button kind="small" disabled={moment == null} onClick={() => at(null)}>Now</Button>
				</div>
			</div>
			<div class="columns">
				<section aria-label="State">
					<h2>{moment == null ? 'Now' : <>As of <Time t={params.at} millis /></>}</h2>
					<p class="muted" role="status">
						{data.place == null ? 'As it was at the start; no update had come.' : (
							<>Since update {count(data.place + 1)} of {count(total)}, <Time t={data.timestamp} millis />.
								{keys?.size > 0 && ` It changed ${plural(keys.size, 'field')}, marked below.`}</>
						)}
					</p>
					<Tree value={data.state} changed={keys} />
				</section>
				<section aria-label="Updates">
					<h2>Updates</h2>
					{total ? <Updates id={id} total={total} place={data.place} size={data.size} /> : <Empty title="No update yet" />}
				</section>
			</div>
		</div>
	);
}
