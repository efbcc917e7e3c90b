// versions.jsx -- both versions of a conflict beside each other, and what differs.
//
// Ours is what is queued. Theirs is what upstream has now, asked for when this is opened and when the reader says so: what
// counts for "keep ours" is what is there then, not what was there when they met.
import { useEffect, useState } from 'preact/hooks';
import { get } from '../shared/api.js';
import { Ago, Time, bytes } from '../shared/format.jsx';
import { Button, Facts } from '../shared/ui.jsx';
import { changes } from './diff.js';

function useTheirs(e) {
	const [state, set] = useState({ busy: true });
	const look = () => {
		set((was) => ({ ...was, busy: true }));
		get(`/api/v1/outbox/${encodeURIComponent(e.id)}/theirs`).then((theirs) => set({ theirs }), (error) => set({ error }));
	};
	useEffect(look, [e.id]);
	return { ...state, look };
}

function Version({ id, title, says, facts, text, why }) {
	return (
		<section class="panel version" aria-labelledby={id}>
			<h3 id={id}>{title}</h3>
			<p class="muted">{says}</p>
			<Facts rows={facts} />
			{text ? <pre tabIndex={0} aria-label={title}>{text}</pre> : <p class="muted nothing">{why || 'Empty.'}</p>}
		</section>
	);
}

const isPatch = (e) => e.method === 'PATCH' || e.method === 'POST';

function Ours({ e, ours }) {
	const gone = e.method === 'DELETE';
	return (
		<Version id="ours" title="Ours" says={gone ? 'to be deleted' : isPatch(e) ? `what the ${e.method} says` : 'what is queued here'}
			facts={[
				['Queued', <Time t={e.queued_at} />],
				['Size', gone ? null : bytes(e.body_bytes)],
				['Type', e.content_type || null],
				['Based on', e.base_etag || null],
			]}
			text={ours?.text} why={gone ? 'Nothing is to be there.' : ours?.why ? `Not shown: ${ours.why}.` : ours ? 'Empty.' : 'Loading …'} />
	);
}

function Theirs({ e, theirs, error, busy }) {
	if (!theirs) {
		return (
			<section class="panel version" aria-labelledby="theirs">
				<h3 id="theirs">Theirs</h3>
				{error ? <p class="bad-text" role="alert">Upstream’s version cannot be shown: {error.message}</p>
					: <p class="muted" role="status">{busy && 'Asking upstream …'}</p>}
				<Facts rows={[
					['When they met: version', e.theirs_etag || null],
					['Changed', e.theirs_mod_time ? <Time t={e.theirs_mod_time} /> : null],
				]} />
			</section>
		);
	}
	return (
		<Version id="theirs" title="Theirs" says={<>what upstream has now, asked <Ago t={theirs.asked_at} /></>}
			facts={[
				['Changed', theirs.mod_time ? <Time t={theirs.mod_time} /> : null],
				['Size', theirs.body_bytes == null ? null : bytes(theirs.body_bytes)],
				['Type', theirs.content_type || null],
				['Version', theirs.etag || null],
			]}
			text={theirs.known && !theirs.absent ? theirs.body : null}
			why={theirs.absent ? `Nothing is there (${theirs.status}).` : !theirs.known ? `Upstream answered ${theirs.status}.`
				: theirs.body_omitted ? `Not shown: ${theirs.body_omitted}.` : 'Empty.'} />
	);
}

const signs = { '+': 'ours', '-': 'theirs' };

function Difference({ ours, theirs }) {
	if (ours === theirs) return <p class="fine">Both are the same, byte for byte.</p>;
	const found = changes(theirs, ours);
	if (!found) return <p class="muted">They differ too much to be compared line by line.</p>;
	return (
		<div class="diff mono" role="group" aria-label="Lines that differ" tabIndex={0}>
			{found.map(([sign, text], i) => (
				sign === '…' ? <p key={i} class="gap">{text}</p> : (
					<p key={i} class={sign === '+' ? 'plus' : sign === '-' ? 'minus' : undefined}>
						<span aria-hidden="true">{sign}</span>{signs[sign] && <span class="hidden">{signs[sign]}: </span>}{text}
					</p>
				)
			))}
		</div>
	);
}

export function Versions({ e, ours }) {
	const { theirs, error, busy, look } = useTheirs(e);
	const comparable = ours?.text != null && theirs?.known && (theirs.absent || theirs.body != null) &&
		!isPatch(e) && e.method !== 'DELETE';
	return (
		<section class="section" aria-labelledby="versions">
			<div class="head small">
				<h2 id="versions">Both versions</h2>
				<Button kind="small" disabled={busy} onClick={look}>Ask upstream again</Button>
			</div>
			<div class="versions">
				<Ours e={e} ours={ours} />
				<Theirs e={e} theirs={theirs} error={error} busy={busy} />
			</div>
			{comparable && (
				<>
					<h3 class="what">What keeping ours would change</h3>
					<Difference ours={ours.text} theirs={theirs.absent ? '' : theirs.body} />
				</>
			)}
		</section>
	);
}
