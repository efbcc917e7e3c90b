// repos.jsx -- the cached repositories, by name, size or age; filled, checked, dropped.
import { useState } from 'preact/hooks';
import { get } from '../shared/api.js';
import { Ago, bytes, count, plural } from '../shared/format.jsx';
import { useLoad } from '../shared/load.js';
import { change } from '../shared/router.js';
import { Button, Empty, Field, Problem, Search, Table, Waiting } from '../shared/ui.jsx';
import { act, actAfter, useBusy } from './actions.js';
import { RepoState } from './words.jsx';

const MOST_PAGES = 10; // of a thousand: beyond that, this page is not the tool
const SHOWN = 100;

const named = (r) => `${r.host}/${r.path}`;
const orders = {
	name: (a, b) => named(a).localeCompare(named(b)),
	bytes: (a, b) => a.bytes - b.bytes,
	refs: (a, b) => a.refs - b.refs,
	used: (a, b) => (a.used_at || '').localeCompare(b.used_at || ''),
	seen: (a, b) => (a.seen_at || '').localeCompare(b.seen_at || ''),
};

async function all(signal) {
	const items = [];
	let after = null;
	for (let i = 0; i < MOST_PAGES; i++) {
		const page = await get('/api/v1/repos', { after }, signal);
		items.push(...page.items);
		after = page.next;
		if (!after) break;
	}
	return { items, more: !!after };
}

function doing(r) {
	const p = r.progress;
	return p && (
		<small class="muted">
			{[p.stage, p.bytes && bytes(p.bytes), p.objects && plural(p.objects, 'object')].filter(Boolean).join(', ')}
		</small>
	);
}

function Actions({ r, again }) {
	const [busy, run] = useBusy(again), repo = named(r), body = { repo };
	const warm = () => act('POST', '/api/v1/repos/warm', body, () => `${repo} is being filled`);
	const verify = () => act('POST', '/api/v1/repos/verify', body, (a) => (a.ok ? `${repo} is whole`
		: `${repo} was damaged (${a.detail}): it was set aside and is fetched anew`));
	const evict = () => actAfter({
		title: `Evict ${repo}?`, action: 'Evict', danger: true,
		text: <p>{bytes(r.bytes)} are dropped from this machine. Who asks for it next waits until it is fetched again, and
			cannot have it while its upstream is away.</p>,
	}, 'POST', '/api/v1/repos/evict', body, () => `${repo} was evicted`);
	return (
		<div class="buttons right">
			<Button kind="small" aria-disabled={busy} aria-label={`Warm ${repo}`} onClick={() => run(warm)}>Warm</Button>
			<Button kind="small" aria-disabled={busy} aria-label={`Verify ${repo}`} onClick={() => run(verify)}>Verify</Button>
			<Button kind="small" aria-disabled={busy} aria-label={`Evict ${repo}`} onClick={() => run(evict)}>Evict</Button>
		</div>
	);
}

function Warm({ again }) {
	const [repo, set] = useState('');
	const submit = async (e) => {
		e.preventDefault();
		const name = repo.trim();
		if (name && await act('POST', '/api/v1/repos/warm', { repo: name }, () => `${name} is being filled`)) set('');
		again();
	};
	return (
		<form class="fields" onSubmit={submit}>
			<Field label="Fill another">
				<input value={repo} placeholder="github.com/org/repo" spellcheck={false} autocomplete="off"
					onInput={(e) => set(e.currentTarget.value)} />
			</Field>
			<Button type="submit">Warm</Button>
		</form>
	);
}

const columns = (again) => [
	{ key: 'name', title: 'Repository', sort: 'name', first: 'asc', class: 'break repository', value: (r) => (
		<span><span class="muted">{r.host}/</span><b>{r.path}</b>{r.last_error && <small class="bad-text">{r.last_error}</small>}</span>
	) },
	{ key: 'state', title: 'State', value: (r) => <span class="stacked"><RepoState state={r.state} />{doing(r)}</span> },
	{ key: 'bytes', title: 'Size', sort: 'bytes', align: 'right', class: 'nowrap', value: (r) => bytes(r.bytes) },
	{ key: 'refs', title: 'Refs', sort: 'refs', align: 'right', class: 'spare', value: (r) => count(r.refs) },
	{ key: 'used', title: 'Used', sort: 'used', class: 'nowrap', value: (r) => <Ago t={r.used_at} /> },
	{ key: 'seen', title: 'Seen upstream', sort: 'seen', class: 'nowrap', value: (r) => <Ago t={r.seen_at} /> },
	{ key: 'servable', title: 'Whole as of', class: 'nowrap spare', value: (r) => <Ago t={r.servable_at} /> },
	{ key: 'actions', title: 'Actions', align: 'right', class: 'full', value: (r) => <Actions r={r} again={again} /> },
];

export function Repositories({ params: { text = '', sort = 'used', order = 'desc', page = '1' } }) {
	const { data, error, again } = useLoad(all, [], ({ items }) => (items.length > 1000 ? 30000 : 2000));
	if (error) return <Problem error={error} again={again} />;
	if (!data) return <Waiting />;
	const fitting = data.items.filter((r) => named(r).toLowerCase().includes(text.toLowerCase()));
	const sorted = fitting.sort((a, b) => (order === 'asc' ? 1 : -1) * (orders[sort] || orders.name)(a, b));
	const at = Math.max(0, Math.min(Number(page) || 1, Math.ceil(sorted.length / SHOWN)) - 1), from = at * SHOWN;
	const shown = sorted.slice(from, from + SHOWN), size = fitting.reduce((sum, r) => sum + r.bytes, 0);
	return (
		<>
			<div class="head">
				<h1>Repositories</h1>
				<span class="muted end">{plural(fitting.length, 'repository', 'repositories')}{data.more && ' and more'}, {bytes(size)}</span>
			</div>
			<div class="fields bar">
				<Search label="Search" value={text} onValue={(now) => change({ text: now, page: null }, true)} />
				<span class="fill" />
				<Warm again={again} />
			</div>
			<div class="panel">
				{sorted.length === 0 ? <Empty title={text ? 'No repository fits' : 'No repository is cached yet'}>
					<p>{text ? 'Look for another part of its name.' : 'Clone through weir, or fill one here.'}</p></Empty> : (
					<Table label="Repositories" columns={columns(again)} rows={shown} rowKey={named} sort={{ by: sort, order }}
						onSort={(by, o) => change({ sort: by, order: o, page: null })} />
				)}
				{sorted.length > SHOWN && (
					<div class="pager">
						<span class="muted">{count(from + 1)} to {count(from + shown.length)} of {count(sorted.length)}</span>
						<div class="buttons">
							<Button icon="left" label="Page before" disabled={at === 0} onClick={() => change({ page: at })} />
							<Button icon="right" label="Next page" disabled={from + SHOWN >= sorted.length}
								onClick={() => change({ page: at + 2 })} />
						</div>
					</div>
				)}
			</div>
		</>
	);
}
