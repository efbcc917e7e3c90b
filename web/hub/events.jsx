// events.jsx -- the events of a session, a page at a time, newest first unless the reader wants it otherwise.
import { get } from '../shared/api.js';
import { count, exact, Time } from '../shared/format.jsx';
import { useLoad } from '../shared/load.js';
import { change, href, route } from '../shared/router.js';
import { Button, Choices, Empty, Problem, Search, Select, Waiting } from '../shared/ui.jsx';
import { Level, levelClass, levels, Pager, Tree } from './parts.jsx';

const PAGE = 100;
const MOST_ASKED = 20; // answers for one page of ours
const FILTERS = ['level', 'group', 'label', 'text'];
const set = (params, replace) => change({ ...params, from: '' }, replace);

const options = levels.map((l) => [l, l[0].toUpperCase() + l.slice(1), l]);

function Filters({ params, found }) {
	// Levels that programs made up are offered when the timeline has them.
	const others = found.filter((l) => !levels.includes(l)).map((l) => [l, l || 'none', 'other']);
	return (
		<form role="search" aria-label="Filters of events" class="fields pad" onSubmit={(e) => e.preventDefault()}>
			<Choices label="Level" options={[...options, ...others]} value={params.level ? params.level.split(',') : []}
				onValue={(v) => set({ level: v.join(',') })} />
			<Search label="Text" value={params.text} onValue={(text) => set({ text }, true)} wait={400} />
			<Search label="Group" value={params.group} onValue={(group) => set({ group }, true)} />
			<Search label="Label" value={params.label} onValue={(label) => set({ label }, true)} />
			<Select label="Order" value={params.order} options={[['', 'Newest first'], ['asc', 'Oldest first']]}
				onValue={(order) => set({ order })} />
			{FILTERS.some((f) => params[f]) && (
				<Button kind="quiet" icon="close" onClick={() => set(Object.fromEntries(FILTERS.map((f) => [f, ''])))}>Clear</Button>
			)}
		</form>
	);
}

function Stack({ lines }) {
	return (
		<details class="stack" open>
			<summary>Stack trace ({lines.length})</summary>
			<pre>{lines.join('\n')}</pre>
		</details>
	);
}

const KNOWN = new Set(['timestamp', 'name', 'category', 'group', 'labels', 'message', 'data', 'stacktrace', 'exception_type', 'exception_msg',
	'source_file', 'source_line', 'source_function']);

// What a program newer than this page said of it; or null.
function further(e) {
	const found = Object.entries(e).filter(([key]) => !KNOWN.has(key));
	return found.length ? Object.fromEntries(found) : null;
}

function hasMore(e) {
	return further(e) || e.stacktrace || e.exception_type || e.exception_msg || e.source_file || e.source_function || e.group ||
		Object.keys(e.data || {}).length > 0 || (e.message || '').length > 120;
}

function More({ e }) {
	const source = [e.source_file, e.source_line].filter(Boolean).join(':');
	return (
		<div class="more">
			{(e.exception_type || e.exception_msg) && (
				<p class="exception"><b>{e.exception_type}</b>{e.exception_type && e.exception_msg && ': '}{e.exception_msg}</p>
			)}
			{(e.message || '').includes('\n') && <p class="message">{e.message}</p>}
			<p class="muted">
				<span class="mono">{exact(e.timestamp)}</span>
				{e.group && <> · group <a href={here({ group: e.group })}>{e.group}</a></>}
				{(source || e.source_function) && <> · <span class="mono">{[e.source_function, source].filter(Boolean).join(' at ')}</span></>}
			</p>
			{e.stacktrace && <Stack lines={e.stacktrace} />}
			{Object.keys(e.data || {}).length > 0 && <Tree value={e.data} open={3} />}
			{further(e) && <><p class="muted">Further members</p><Tree value={further(e)} open={3} /></>}
		</div>
	);
}

// The same view with a filter more.
const here = (params) => href(route.get().path, { ...route.get().params, ...params, from: '' });

function Line({ e }) {
	return (
		<>
			<Time t={e.timestamp} millis class="mono" />
			<Level level={e.category} />
			<span class="what"><b>{e.name}</b>{e.message && <span class="muted"> {e.message}</span>}</span>
			<span class="tags">{e.labels.map((l, i) => <span key={i} class="tag">{l}</span>)}</span>
		</>
	);
}

function Event({ e }) {
	if (!hasMore(e)) return <li class={`event ${levelClass(e.category)}`}><div class="line"><Line e={e} /></div></li>;
	return (
		<li class={`event ${levelClass(e.category)}`}>
			<details>
				<summary class="line"><Line e={e} /></summary>
				<More e={e} />
			</details>
		</li>
	);
}

// The server looks at a bounded number of events for each answer: when few of them fit, it is asked to look on.
async function loadPage(id, asked, signal) {
	const items = [];
	let page = { next: asked.from };
	for (let i = 0; i < MOST_ASKED && (!i || (page.next != null && items.length < PAGE)); i++) {
		page = await get(`/api/data/sessions/${encodeURIComponent(id)}/events`,
			{ ...asked, from: page.next, view: 'page', limit: PAGE - items.length }, signal);
		items.push(...page.items);
	}
	return { ...page, items };
}

// total: how many there are, which tells when to look again; found: the levels that the session has.
export function Events({ id, params, total, found }) {
	const asked = { level: params.level, group: params.group, label: params.label, text: params.text, since: params.since,
		until: params.until, from: params.from, order: params.order || 'desc' };
	const moving = asked.order === 'desc' ? !params.from : true; // a page in the past stays as it is
	const { data, error, stale, again } = useLoad(
		async (signal) => ({ ...await loadPage(id, asked, signal), cursor: params.from }),
		[id, JSON.stringify(asked)], undefined, moving && total);
	const filtered = FILTERS.some((f) => params[f]) || params.since || params.until;
	return (
		<>
			<Filters params={params} found={found} />
			{error && <Problem error={error} again={again} />}
			{!data ? !error && <Waiting /> : (
				<div class={stale ? 'stale' : undefined} aria-busy={stale}>
					{data.items.length ? (
						<ol class="events" aria-label="Events">{data.items.map((i) => <Event key={i.place} e={i.event} />)}</ol>
					) : (
						<Empty title={filtered ? (data.next == null ? 'No event fits' : 'None so far') : 'No events'}>
							{data.next != null && <p>Many events were looked at, and none of them fits: the next page looks on.</p>}
						</Empty>
					)}
					<Pager cursor={data.cursor} next={data.next} to={(from) => href(route.get().path, { ...params, from })}>
						{data.items.length > 0 && (filtered
							? `${count(data.items.length)} on this page, of a session with ${count(data.total)}`
							: `${count(data.items[0].place + 1)} to ${count(data.items[data.items.length - 1].place + 1)} of ${count(data.total)}`)}
					</Pager>
				</div>
			)}
		</>
	);
}
