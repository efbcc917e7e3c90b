// disks.jsx -- what each cache takes of its budget, and what the outbox does.
import { bytes, short } from '../shared/format.jsx';
import { Table } from '../shared/ui.jsx';
import { Meter } from './words.jsx';

function budgets({ git, mirror, outbox }) {
	return [
		...(git ? [{ name: 'git', what: `${short(git.repos)} repositories`, ...git }] : []),
		...(mirror?.mirrors || []).map((m) => ({ ...m, what: `${short(m.responses)} answers` })),
		...(outbox.queues.length ? [{ name: 'outbox', what: 'bodies of what waits', bytes: outbox.bytes }] : []),
	];
}

export function Disks({ status }) {
	const rows = budgets(status);
	if (!rows.length) return null;
	return (
		<section class="section" aria-labelledby="disks">
			<h2 id="disks">Disk</h2>
			<div class="panel">
				<Table label="Disk budgets" rows={rows} rowKey={(d) => d.name} columns={[
					{ key: 'name', title: 'Of', class: 'break', value: (d) => <b>{d.name}</b> },
					{ key: 'what', title: 'Holds', value: (d) => d.what },
					{ key: 'used', title: 'Budget', class: 'budget full', value: (d) => (d.max_bytes
						? <Meter label={d.name} used={d.bytes} max={d.max_bytes} low={d.low_bytes} /> : bytes(d.bytes)) },
					{ key: 'low', title: 'Cleared down to', align: 'right', value: (d) => (d.low_bytes ? bytes(d.low_bytes) : '–') },
					{ key: 'evictions', title: 'Evicted', align: 'right', value: (d) => (d.evictions == null ? '–' : short(d.evictions)) },
				]} />
			</div>
		</section>
	);
}
