// mirrors.jsx -- each mirror: its upstream, what it holds, how it answered since it was started.
import { count, short } from '../shared/format.jsx';
import { href } from '../shared/router.js';
import { Table } from '../shared/ui.jsx';
import { Meter, UpstreamState } from './words.jsx';

export function Mirrors({ status }) {
	const link = (m) => status.upstreams.find((u) => u.name === m.name && u.service === m.name) ||
		status.upstreams.find((u) => u.name === m.name);
	const queue = (m) => status.outbox.queues.find((q) => q.service === m.name);
	const waiting = (m) => (queue(m)?.queued || 0) + (queue(m)?.sending || 0);
	const stuck = (m) => (queue(m)?.conflict || 0) + (queue(m)?.held || 0);
	const number = (title, value) => ({ key: title, title, align: 'right', value: (m) => short(value(m)) });
	const queued = (title, value, state) => ({
		key: title, title, align: 'right',
		value: (m) => (value(m) === 0 ? '0' : (
			<a class={value === stuck && 'bad-text'} href={href('/outbox', { service: m.name, state: state(m) })}>{count(value(m))}</a>
		)),
	});
	return (
		<>
			<div class="head"><h1>Mirrors</h1><span class="muted end">numbers are since weir was started</span></div>
			<div class="panel">
				<Table label="Mirrors" rows={status.mirror?.mirrors || []} rowKey={(m) => m.name} columns={[
					{ key: 'name', title: 'Mirror', class: 'break', value: (m) => (
						<span><b>{m.name}</b><small class="muted">{m.upstream}</small></span>
					) },
					{ key: 'state', title: 'Upstream', value: (m) => <UpstreamState state={link(m)?.state || 'unknown'} /> },
					number('Hits', (m) => m.hits),
					number('Refreshed', (m) => m.refreshed),
					number('Misses', (m) => m.misses),
					number('Offline', (m) => m.offline),
					queued('Waiting', waiting, () => 'queued'),
					queued('Stuck', stuck, (m) => (queue(m)?.conflict ? 'conflict' : 'held')),
					number('Answers kept', (m) => m.responses),
					number('Damaged', (m) => m.damaged),
					{ key: 'disk', title: 'Disk', class: 'budget full', value: (m) => (
						<Meter label={m.name} used={m.bytes} max={m.max_bytes} low={m.low_bytes} />
					) },
				]} />
			</div>
		</>
	);
}
