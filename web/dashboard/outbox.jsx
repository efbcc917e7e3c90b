// outbox.jsx -- the writes that wait, those that need somebody, and those that are done.
import { get } from '../shared/api.js';
import { Ago, bytes, count, plural } from '../shared/format.jsx';
import { useLoad } from '../shared/load.js';
import { change, go, href } from '../shared/router.js';
import { Button, Empty, Problem, Search, Select, Table, Waiting, classes } from '../shared/ui.jsx';
import { act } from './actions.js';
import { EntryState, outboxStates } from './words.jsx';

const SHOWN = 50;
const NEWEST_FIRST = ['applied', 'dropped', 'resolved', 'all'];

// The list that was looked at last, with its filters: the way back from an entry.
export const list = { at: href('/outbox') };

// A page of at most SHOWN entries. A search may come back with none although there are more: it goes on by itself for a
// while, then leaves it to the reader.
async function page(params, signal) {
	const found = { items: [], next: params.after || null };
	for (let i = 0; i < 20; i++) {
		const { items, next } = await get('/api/v1/outbox', { ...params, after: found.next, limit: SHOWN - found.items.length }, signal);
		found.items.push(...items);
		found.next = next;
		if (!next || found.items.length >= SHOWN || !params.text) break;
	}
	return found;
}

function States({ status, state, params }) {
	const of = params.service ? status.outbox.queues.find((q) => q.service === params.service) : status.outbox;
	const number = (key) => of?.[key];
	return (
		<nav class="tabs" aria-label="States">
			{[...outboxStates, { key: 'all', name: 'All' }].map(({ key, name }) => (
				<a key={key} href={href('/outbox', { ...params, state: key, after: null })} aria-current={state === key ? 'page' : undefined}
					class={classes(['conflict', 'held'].includes(key) && number(key) > 0 && 'urges')}>
					{name}{number(key) != null && <span class="count">{count(number(key))}</span>}
				</a>
			))}
		</nav>
	);
}

function Queues({ queues, again }) {
	const flush = (q) => act('POST', '/api/v1/outbox/flush', { service: q.service },
		() => `All that waits for ${q.service} is due now`).then(again);
	const held = queues.filter((q) => q.paused || (q.queued && q.upstream !== 'up'));
	if (!held.length) return null;
	return (
		<ul class="troubles panel">
			{held.map((q) => (
				<li key={q.service} class={q.paused ? 'bad' : 'warn'}>
					<span class="break">{q.paused ? `Delivery to ${q.service} is paused: ${q.paused}`
						: `${plural(q.queued, 'write')} to ${q.service}: its upstream is ${q.upstream}`}</span>
					{q.paused && <Button kind="small" onClick={() => flush(q)}>Go on</Button>}
				</li>
			))}
		</ul>
	);
}

const columns = (state) => [
	{ key: 'what', title: 'Write', class: 'break', value: (e) => (
		<a href={href(`/outbox/${e.id}`)}><span class="mono">{e.method} {e.raw_uri}</span></a>
	) },
	...(state === 'all' ? [{ key: 'state', title: 'State', value: (e) => <EntryState state={e.state} /> }] : []),
	{ key: 'service', title: 'Service', value: (e) => e.service },
	{ key: 'at', title: 'Queued', class: 'nowrap', value: (e) => <Ago t={e.queued_at} /> },
	{ key: 'bytes', title: 'Size', align: 'right', class: 'nowrap', value: (e) => bytes(e.body_bytes) },
	{ key: 'attempts', title: 'Attempts', align: 'right', value: (e) => count(e.attempts) },
	...(state === 'queued'
		? [{ key: 'next', title: 'Next attempt', class: 'nowrap', value: (e) => <Ago t={e.next_attempt_at} /> }] : []),
	...(['applied', 'dropped', 'resolved'].includes(state)
		? [{ key: 'settled', title: 'Settled', class: 'nowrap', value: (e) => <Ago t={e.settled_at} /> }] : []),
	{ key: 'error', title: 'Last answer', class: 'break full error', value: (e) => (
		e.last_error || (e.last_status ? e.last_status : <span class="muted">–</span>)
	) },
];

export function Outbox({ status, again: statusAgain, params }) {
	const { state = 'queued', service = '', text = '', after = '' } = params;
	const order = NEWEST_FIRST.includes(state) ? 'desc' : '';
	const { data, error, stale, again } = useLoad(
		(signal) => page({ state: state === 'all' ? '' : state, order, service, text, after }, signal),
		[state, service, text, after], () => 3000);
	list.at = href('/outbox', params);
	const flush = () => act('POST', '/api/v1/outbox/flush', service ? { service } : {},
		() => `All that waits${service && ` for ${service}`} is due now`).then(() => {
		again();
		statusAgain();
	});
	return (
		<>
			<div class="head">
				<h1>Outbox</h1>
				<Button class="end" onClick={flush}>Send what waits now</Button>
			</div>
			<Queues queues={status.outbox.queues} again={statusAgain} />
			<States status={status} state={state} params={{ service, text }} />
			<div class="fields bar">
				<Search label="Search in address, id, error" value={text} onValue={(now) => change({ text: now, after: null }, true)} />
				<Select label="Service" value={service} onValue={(now) => change({ service: now, after: null })}
					options={[['', 'All'], ...status.outbox.queues.map((q) => [q.service, q.service])]} />
			</div>
			{error && <Problem error={error} again={again} />}
			{!data && !error && <Waiting />}
			{data && (
				<div class={classes('panel', stale && 'stale')}>
					{data.items.length === 0 ? <Empty title={text ? 'No entry fits' : 'There are none'} /> : (
						<Table label="Entries of the outbox" columns={columns(state)} rows={data.items} rowKey={(e) => e.id}
							onRow={(e) => go(`/outbox/${e.id}`)} />
					)}
					{(after || data.next) && (
						<div class="pager">
							<span class="muted">{NEWEST_FIRST.includes(state) ? 'newest first' : 'in the order in which they were taken'}</span>
							<div class="buttons">
								{after && <Button onClick={() => change({ after: null })}>From the beginning</Button>}
								{data.next && <Button onClick={() => change({ after: data.next })}>Next page</Button>}
							</div>
						</div>
					)}
				</div>
			)}
		</>
	);
}
