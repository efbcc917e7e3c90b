// upstreams.jsx -- which of them answer, since when, why not; and the switch.
import { Ago } from '../shared/format.jsx';
import { Button, Table } from '../shared/ui.jsx';
import { act, actAfter, useBusy } from './actions.js';
import { UpstreamState } from './words.jsx';

const path = (u) => `/api/v1/upstreams/${encodeURIComponent(u.name)}`;

function switchOff(u) {
	return actAfter({
		title: `Switch off ${u.name}?`, action: 'Switch off', danger: true,
		text: (
			<>
				<p>weir then never contacts it, as in an outage: reads are answered from the cache, writes are queued.</p>
				<p class="muted">Until you switch it on again, or weir restarts: only <code>enabled</code> in the configuration lasts.</p>
			</>
		),
	}, 'PUT', path(u), { enabled: false }, () => `${u.name} is switched off`);
}

function Switch({ u, again }) {
	const [busy, run] = useBusy(again);
	const turn = () => (u.enabled ? switchOff(u)
		: act('PUT', path(u), { enabled: true }, () => `${u.name} is switched on; weir asks whether it answers`));
	return (
		<Button kind="small" aria-disabled={busy} onClick={() => run(turn)} aria-label={`Switch ${u.enabled ? 'off' : 'on'} ${u.name}`}>
			{u.enabled ? 'Switch off' : 'Switch on'}
		</Button>
	);
}

export function Upstreams({ items, again }) {
	const columns = [
		{ key: 'name', title: 'Upstream', class: 'break upstream', value: (u) => (
			<span><b>{u.name}</b><small class="muted">{u.url}</small></span>
		) },
		{ key: 'state', title: 'State', value: (u) => <UpstreamState state={u.state} /> },
		{ key: 'service', title: 'Service', value: (u) => u.service },
		{ key: 'since', title: 'Since', class: 'nowrap', value: (u) => <Ago t={u.since} /> },
		{ key: 'error', title: 'Last error', class: 'break full error', value: (u) => u.last_error || <span class="muted">–</span> },
		{ key: 'switch', title: 'Switch', align: 'right', class: 'full', value: (u) => <Switch u={u} again={again} /> },
	];
	return (
		<section class="section" aria-labelledby="upstreams">
			<h2 id="upstreams">Upstreams</h2>
			<div class="panel"><Table label="Upstreams" columns={columns} rows={items} rowKey={(u) => `${u.service}/${u.name}`} /></div>
		</section>
	);
}
