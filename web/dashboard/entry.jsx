// entry.jsx -- one write of the outbox: what it says, what became of it, and what can be done with it.
import { useEffect, useState } from 'preact/hooks';
import { ask, get } from '../shared/api.js';
import { Ago, Time, bytes, count } from '../shared/format.jsx';
import { useLoad } from '../shared/load.js';
import { href } from '../shared/router.js';
import { Button, Copy, Facts, Problem, Table, Waiting, say } from '../shared/ui.jsx';
import { act, actAfter, useBusy } from './actions.js';
import { list } from './outbox.jsx';
import { Versions } from './versions.jsx';
import { EntryState } from './words.jsx';

const MOST_SHOWN = 256 * 1024; // bytes of a body
const settled = ['applied', 'dropped', 'resolved'];

const api = (e, rest = '') => `/api/v1/outbox/${encodeURIComponent(e.id)}${rest}`;

function choose(e, keep) {
	return actAfter(keep === 'ours' ? {
		title: 'Keep ours?', action: 'Keep ours', danger: true,
		text: <p>weir asks upstream what it has now, and sends this write on top of that. What upstream has is overwritten.</p>,
	} : {
		title: 'Keep theirs?', action: 'Keep theirs', danger: true,
		text: <p>This write is given up; upstream stays as it is. The entry stays listed as resolved for a while.</p>,
	}, 'POST', api(e, '/resolve'), { keep }, () => (keep === 'ours' ? 'Ours is kept: it is being sent again'
		: 'Theirs is kept: this write was given up'));
}

const drop = (e) => actAfter({
	title: 'Drop this write?', action: 'Drop', danger: true,
	text: <p>It is not sent any more. Whoever wrote it was told that it would be.</p>,
}, 'DELETE', api(e), undefined, () => 'The write was dropped');

const retry = (e) => act('POST', api(e, '/retry'), undefined, () => 'It is sent again now');

// comparable: of a mirror that runs, so that there is another version to be chosen.
function Actions({ e, again, comparable }) {
	const [busy, run] = useBusy(again);
	if (settled.includes(e.state)) return null;
	const sending = busy || e.state === 'sending' || undefined;
	const open = comparable && ['conflict', 'held'].includes(e.state) && !e.damaged;
	return (
		<div class="buttons end">
			{open && <Button kind="main" aria-disabled={busy} onClick={() => run(() => choose(e, 'ours'))}>Keep ours</Button>}
			{open && <Button aria-disabled={busy} onClick={() => run(() => choose(e, 'theirs'))}>Keep theirs</Button>}
			{!e.damaged && <Button aria-disabled={sending} onClick={() => run(() => retry(e))}>Send again</Button>}
			<Button kind="danger" aria-disabled={sending} onClick={() => run(() => drop(e))}>Drop</Button>
		</div>
	);
}

// The queued body: { text, why }, once; it never changes.
function useBody(e) {
	const [body, set] = useState(null);
	useEffect(() => {
		if (!e || body) return;
		if (!e.body_bytes) return set({ text: '' });
		if (e.body_bytes > MOST_SHOWN) return set({ why: 'it is too large to be shown here' });
		let gone = false;
		ask('GET', api(e, '/body'), { as: 'arrayBuffer' }).then(({ data }) => {
			try {
				const text = new TextDecoder('utf-8', { fatal: true }).decode(data);
				return text.includes('\0') ? { why: 'it is not a text' } : { text };
			} catch {
				return { why: 'it is not a text' };
			}
		}, (error) => ({ why: error.message })).then((it) => gone || set(it));
		return () => (gone = true);
	}, [e?.id, e?.body_bytes]);
	return body;
}

async function download(e) {
	try {
		const { data } = await ask('GET', api(e, '/body'), { as: 'blob' });
		// As nothing that a browser would open.
		const url = URL.createObjectURL(new Blob([data], { type: 'application/octet-stream' }));
		const link = Object.assign(document.createElement('a'), { href: url, download: `${e.id}.body` });
		link.click();
		setTimeout(() => URL.revokeObjectURL(url), 10000);
	} catch (error) {
		say(error.message, 'bad');
	}
}

function base(e) {
	if (e.base_absent) return 'nothing: it was to be new';
	return [e.base_etag, e.base_mod_time].filter(Boolean).join(', ') || 'not known';
}

function About({ e }) {
	return (
		<div class="panel pad">
			<Facts rows={[
				['Service', e.service],
				['Queued', <Time t={e.queued_at} />],
				['Attempts', count(e.attempts)],
				['Next attempt', e.next_attempt_at ? <Ago t={e.next_attempt_at} /> : null],
				['Settled', e.settled_at ? <Time t={e.settled_at} /> : null],
				['Upstream’s last answer', e.last_status ? String(e.last_status) : null],
				['Based on', base(e)],
				['After', e.parent ? <a class="mono" href={href(`/outbox/${e.parent}`)}>{e.parent}</a> : null],
				['Id', <><code>{e.id}</code><Copy text={e.id} label="Copy the id" /></>],
				['Idempotency key', e.idempotency_key ? <code>{e.idempotency_key}</code> : null],
			]} />
			{e.last_error && <p class="remark break">{e.last_error}</p>}
		</div>
	);
}

function Text({ id, title, children, text, why, said }) {
	return (
		<section class="section" aria-labelledby={id}>
			<div class="head small"><h2 id={id}>{title}</h2>{children}</div>
			{text == null ? <p class="muted">{said || (why ? `Not shown: ${why}.` : 'Loading …')}</p>
				: text === '' ? <p class="muted">Empty.</p> : <pre class="content" tabIndex={0}>{text}</pre>}
		</section>
	);
}

export function Entry({ id, status }) {
	const { data: e, error, again } = useLoad((signal) => get(api({ id }), null, signal), [id],
		(entry) => (settled.includes(entry.state) ? 15000 : 2000));
	const body = useBody(e);
	if (error) return <Problem error={error} again={again} />;
	if (!e) return <Waiting />;
	const comparable = !!status.mirror?.mirrors?.some((m) => m.name === e.service);
	const both = comparable && (e.state === 'conflict' || e.state === 'held') && !e.damaged, shownAbove = both && body?.text;
	return (
		<>
			<p class="up"><a href={list.at}>‹ Outbox</a></p>
			<div class="head">
				<h1 class="mono">{e.method} {e.raw_uri}</h1>
				<EntryState state={e.state} />
				<Actions e={e} again={again} comparable={comparable} />
			</div>
			{e.damaged && <p class="problem">This record is damaged on disk: it can only be dropped.</p>}
			<About e={e} />
			{both && <Versions e={e} ours={body} />}
			<section class="section" aria-labelledby="headers">
				<h2 id="headers">Headers</h2>
				<div class="panel">
					{e.headers.length === 0 ? <p class="pad muted">None.</p> : (
						<Table label="Headers" rows={e.headers} columns={[
							{ key: 'name', title: 'Name', class: 'nowrap', value: (h) => <span class="mono">{h.name}</span> },
							{ key: 'value', title: 'Value', class: 'break', value: (h) => <span class="mono">{h.value}</span> },
						]} />
					)}
				</div>
			</section>
			<Text id="body" title="Body" {...(shownAbove ? { said: 'It is what stands above as ours.' } : body)}>
				<span class="muted">{bytes(e.body_bytes)}{e.content_type && `, ${e.content_type}`}</span>
				{e.body_bytes > 0 && <Button kind="small" onClick={() => download(e)}>Download</Button>}
			</Text>
			{e.answer && (
				<Text id="answer" title="What upstream answered" text={e.answer}><span class="muted">{e.answer_type}</span></Text>
			)}
		</>
	);
}
