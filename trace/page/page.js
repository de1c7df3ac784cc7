
// Errors that programs meet in the ordinary course: the call is made again, or goes on.
const harmless = ['EINPROGRESS', 'EALREADY', 'EAGAIN', 'EINTR', 'ERESTARTSYS', 'ERESTARTNOINTR', 'ERESTARTNOHAND', 'ERESTART_RESTARTBLOCK'];
// Calls that wait for others: a server is in one of them when it ends.
const waiting = ['accept', 'accept4', 'recv', 'recvfrom', 'recvmsg', 'recvmmsg', 'recvmmsg_time64'];
'use strict';
(() => {
// The data: rows of numbers, where strings are places in the table D.s. Nothing of it is ever HTML: it becomes text of elements only.
const D = JSON.parse(document.getElementById('data').textContent);
const $ = id => document.getElementById(id);
const str = i => D.s[i];

const el = (tag, props, ...inside) => {
  const e = Object.assign(document.createElement(tag), props);
  e.append(...inside.filter(x => x !== null && x !== undefined && x !== ''));
  return e;
};

// Times are nanoseconds.
const duration = ns => {
  if (ns < 0) return '-' + duration(-ns);
  if (ns >= 6e10) return Math.floor(ns / 6e10) + ' min ' + Math.round(ns % 6e10 / 1e9) + ' s';
  for (const [unit, name] of [[1e9, ' s'], [1e6, ' ms'], [1e3, ' µs']]) if (ns >= unit) return +(ns / unit).toPrecision(ns / unit >= 100 ? 4 : 3) + name;
  return ns + ' ns';
};
const offset = ns => (ns / 1e9).toFixed(6) + ' s';
const startMillis = Date.parse(D.start);
const wall = ns => {
  const d = new Date(startMillis + ns / 1e6);
  return d.toISOString().replace('T', ' ').slice(0, 23) + ' UTC';
};
const bytes = n => {
  for (const [unit, name] of [[2 ** 30, ' GiB'], [2 ** 20, ' MiB'], [2 ** 10, ' KiB']]) if (n >= unit) return (n / unit).toFixed(1) + name;
  return n + ' B';
};
const grouped = n => n.toLocaleString('en');

// Items are what the timeline and the list show.
const node = i => D.nodes[i] ? D.nodes[i].name : '#' + i;
const port = a => a.slice(a.lastIndexOf(':') + 1);
const items = [];

for (const r of D.conns) {
  const c = { kind: 'conn', node: r[0], id: str(r[1]), accept: r[2] === 1, proto: str(r[3]), local: str(r[4]), remote: str(r[5]), peer: str(r[6]), path: str(r[7]),
    pid: r[8], tid: r[9], comm: str(r[10]), t0: r[11], opened: r[12], t1: r[13], state: str(r[14]), errno: str(r[15]), reason: str(r[16]),
    sent: r[17], received: r[18], piecesSent: r[19], piecesReceived: r[20], rtt: r[21], byPeer: r[22] === 1, stream: r[23] };
  c.bad = c.state === 'failed' || c.state === 'connecting' || c.errno !== '';
  c.what = `${c.proto} ${c.local} ${c.accept ? '←' : '→'} ${c.remote}`;
  c.label = `${c.peer || c.remote} :${c.accept ? port(c.local) : port(c.remote)}` + (c.bad ? ' — ' + ([c.errno, c.reason].filter(Boolean).join(' ') || 'no answer') : '');
  c.result = c.state === 'connecting' ? 'no answer until the trace ended' + (c.reason ? ', ' + c.reason : '') : c.bad ? `${c.errno} ${c.reason}` : c.state === 'closed' ? c.reason : [c.state, c.reason].filter(Boolean).join(', ');
  c.color = c.bad ? 'bad' : { 'punched': 'punched', 'LAN': 'lan', 'same host': 'same', 'relayed': 'relayed' }[c.path] || 'other';
  c.ports = [port(c.local), port(c.remote)];
  items.push(c);
}
for (const r of D.names) {
  const n = { kind: 'name', node: r[0], t0: r[1], t1: r[1] + r[2], pid: r[3], tid: r[3], comm: str(r[4]), query: str(r[5]), qtype: str(r[6]), answers: str(r[7]),
    rcode: str(r[8]), server: str(r[9]), reason: str(r[10]) };
  n.errno = n.rcode === 'NOERROR' ? '' : n.rcode;
  n.bad = n.reason !== '' || n.rcode !== 'NOERROR';
  n.what = `${n.qtype} ${n.query}`;
  n.label = n.what;
  n.result = [n.errno, n.answers, n.server && 'from ' + n.server, n.reason].filter(Boolean).join(', ');
  n.color = n.bad ? 'bad' : 'name';
  n.ports = [];
  items.push(n);
}
for (const r of D.calls) {
  const c = { kind: 'call', node: r[0], t0: r[1], t1: r[1] + r[2], pid: r[3], tid: r[4], comm: str(r[5]), name: str(r[6]), args: str(r[7]), phase: str(r[8]), ret: str(r[9]),
    errno: str(r[10]), note: str(r[11]), reason: str(r[12]), did: str(r[13]), id: str(r[14]) };
  c.bad = c.phase === 'lost' && !waiting.includes(c.name) || c.reason !== '' || c.errno !== '' && !harmless.includes(c.errno);
  c.what = `${c.name}(${c.args})`;
  c.label = c.name + (c.errno ? ' ' + c.errno : '');
  c.result = (c.phase === 'watched' ? '' : c.phase === 'lost' ? '= ?' : `= ${c.ret}${c.errno ? ' ' + c.errno : ''}${c.note}`) + (c.reason ? ' — ' + c.reason : '');
  c.color = c.bad ? 'bad' : 'call';
  c.ports = (c.args.match(/htons\((\d+)\)/g) || []).map(p => p.slice(6, -1));
  items.push(c);
}
for (const it of items) {
  it.took = it.t1 - it.t0;
  it.hay = [node(it.node), it.comm, it.pid, it.what, it.result, it.peer, it.path, it.id, it.did].filter(Boolean).join(' ').toLowerCase();
}
items.sort((a, b) => a.t0 - b.t0);
items.forEach((it, i) => { it.i = i; });
const sides = new Map(); // connections and their calls, by id
for (const it of items) if (it.id) sides.set(it.id, [...sides.get(it.id) || [], it]);

const first = Math.min(0, ...items.slice(0, 1).map(it => it.t0));
const last = Math.max(D.end, first + 1000);
const view = { from: first, to: last };
const state = { q: '', failed: false, kinds: { conn: true, name: true, call: true }, sort: 't0', down: false, rows: 100, selected: null, hover: null };
let found = [];
let groups = []; // {title, lanes: [{title, items}]}

// Search: words are looked for everywhere, field:word in one field.
const fields = {
  node: it => [node(it.node)], peer: it => [it.peer], port: it => it.ports, program: it => [it.comm], pid: it => [String(it.pid), String(it.tid)],
  call: it => it.kind === 'call' ? [it.name] : [], errno: it => [it.errno], path: it => [it.path], conn: it => [it.id], name: it => [it.query],
  proto: it => [it.proto], is: it => [it.bad ? 'failed' : 'good', { conn: 'connection', name: 'look-up', call: 'call' }[it.kind]],
};
const exact = new Set(['port', 'pid', 'conn', 'is']);
function matcher(query) {
  const tests = query.toLowerCase().split(/\s+/).filter(Boolean).map(word => {
    const [, field, value] = word.match(/^([a-z]+):(.*)$/) || [];
    if (!fields[field]) return it => it.hay.includes(word);
    return it => value === '' || fields[field](it).some(v => v && (exact.has(field) ? v.toLowerCase() === value : v.toLowerCase().includes(value)));
  });
  return it => tests.every(t => t(it));
}

function filter() {
  const matches = matcher(state.q);
  found = items.filter(it => state.kinds[it.kind] && (!state.failed || it.bad) && matches(it));
  arrange();
  list();
  draw();
  remember();
}

// arrange puts what was found in lanes: look-ups and connections wherever there is room, calls by thread.
function arrange() {
  groups = [];
  D.nodes.forEach((n, i) => {
    const mine = found.filter(it => it.node === i);
    for (const [kind, title] of [['conn', 'connections'], ['name', 'look-ups'], ['call', 'calls']]) {
      const some = mine.filter(it => it.kind === kind);
      if (some.length === 0) continue;
      groups.push({ title: `${n.name} · ${title}`, count: some.length, lanes: kind === 'call' ? byThread(some) : packed(some) });
    }
  });
}
function byThread(some) {
  const threads = new Map();
  for (const it of some) {
    const key = it.tid;
    if (!threads.has(key)) threads.set(key, { title: `${it.comm} ${it.tid}`, items: [] });
    threads.get(key).items.push(it);
  }
  return [...threads.values()];
}
function packed(some) {
  const lanes = [];
  const gap = (last - first) / 2000;
  for (const it of some) {
    let lane = lanes.find(l => l.end + gap <= it.t0);
    if (!lane) {
      lane = { title: '', items: [], end: 0 };
      if (lanes.length < 400) lanes.push(lane); else lane = lanes[it.i % 400];
    }
    lane.items.push(it);
    lane.end = Math.max(lane.end, it.t1);
  }
  return lanes;
}

// The timeline.
const canvas = $('canvas'), scroller = $('scroller'), g = canvas.getContext('2d');
const AXIS = 28, LANE = 20, HEAD = 24, GUTTER = 130;
let width = 800, height = 440, colors = {};
const x = t => GUTTER + (t - view.from) / (view.to - view.from) * (width - GUTTER);
const time = px => view.from + (px - GUTTER) / (width - GUTTER) * (view.to - view.from);

function readColors() {
  const style = getComputedStyle(document.documentElement);
  for (const name of ['bg', 'card', 'ink', 'muted', 'line', 'soft', 'accent', 'bad', 'wait', 'call', 'punched', 'lan', 'same', 'relayed', 'other', 'name', 'on-bar'])
    colors[name] = style.getPropertyValue('--' + name).trim();
}
function resize() {
  width = scroller.clientWidth;
  height = scroller.clientHeight;
  const ratio = window.devicePixelRatio || 1;
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  canvas.style.width = width + 'px';
  canvas.style.height = height + 'px';
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  draw();
}
// rows calls back with each group's head and each lane, and their y; it returns the height of all.
function rows(onHead, onLane) {
  let y = AXIS - scroller.scrollTop, total = AXIS;
  for (const group of groups) {
    onHead(group, y);
    y += HEAD;
    for (const lane of group.lanes) { onLane(lane, y); y += LANE; }
    total += HEAD + group.lanes.length * LANE;
  }
  return total;
}
function draw() {
  g.fillStyle = colors.card;
  g.fillRect(0, 0, width, height);
  grid();
  g.textBaseline = 'middle';
  const total = rows((group, y) => {
    if (y > height || y + HEAD < AXIS) return;
    g.fillStyle = colors.soft;
    g.fillRect(0, y, width, HEAD);
    g.font = '600 12px system-ui, "DejaVu Sans", sans-serif';
    g.fillStyle = colors.ink;
    g.fillText(`${group.title}  `, 8, y + HEAD / 2 + 1);
    const used = g.measureText(`${group.title}  `).width;
    g.fillStyle = colors.muted;
    g.font = '12px system-ui, "DejaVu Sans", sans-serif';
    g.fillText(grouped(group.count), 8 + used, y + HEAD / 2 + 1);
  }, (lane, y) => {
    if (y > height || y + LANE < AXIS) return;
    drawLane(lane, y);
    g.fillStyle = colors.card;
    g.fillRect(0, y, GUTTER - 1, LANE);
    g.fillStyle = colors.muted;
    g.font = '11px system-ui, "DejaVu Sans", sans-serif';
    g.fillText(fitted(lane.title, GUTTER - 14), 8, y + LANE / 2 + 1);
  });
  drops();
  arrow();
  axis();
  if (groups.length === 0) {
    g.fillStyle = colors.muted;
    g.font = '13px system-ui, "DejaVu Sans", sans-serif';
    g.fillText(items.length ? 'Nothing matches the search.' : 'The trace has no events to show.', GUTTER + 12, AXIS + 30);
  }
  $('spacer').style.height = Math.max(0, total + 8 - height) + 'px';
  const text = `${offset(view.from - first)} to ${offset(view.to - first)} of ${offset(last - first)}`;
  if ($('view').textContent !== text) $('view').textContent = text;
  canvas.setAttribute('aria-label', `Timeline: ${found.length} events, ${text}`);
}
function fitted(text, room) {
  if (g.measureText(text).width <= room) return text;
  let n = Math.floor(text.length * room / g.measureText(text).width);
  while (n > 1 && g.measureText(text.slice(0, n) + '…').width > room) n--;
  return n > 1 ? text.slice(0, n) + '…' : '';
}
// from returns the place of the first item of a lane that ends at t or later; items are in order, and few overlap.
function from(list, t) {
  let a = 0, b = list.length;
  while (a < b) { const m = (a + b) >> 1; if (list[m].t1 < t) a = m + 1; else b = m; }
  return Math.max(0, a - 1);
}
function drawLane(lane, y) {
  const list = lane.items;
  let drawnTo = -1;
  for (let i = from(list, view.from); i < list.length && list[i].t0 <= view.to; i++) {
    const it = list[i];
    const a = Math.max(GUTTER - 4, x(it.t0)), b = Math.min(width + 4, Math.max(x(it.t1), x(it.t0) + 3));
    if (b < GUTTER || b <= drawnTo + 0.5 && !it.bad && it !== state.selected) continue;
    drawnTo = b;
    const next = i + 1 < list.length ? x(list[i + 1].t0) : width;
    bar(it, a, b, y + 3, LANE - 6, next);
  }
}
function bar(it, a, b, y, h, next) {
  g.fillStyle = colors[it.color];
  round(a, y, b - a, h);
  g.fill();
  if (it.kind === 'conn') { // what was spent on connecting
    const until = it.opened >= 0 ? x(it.opened) : b;
    const w = Math.min(until, b) - a;
    if (w > 2) {
      g.save();
      g.clip();
      g.beginPath();
      g.rect(a, y, w, h);
      g.clip();
      g.fillStyle = it.opened >= 0 ? colors.wait : colors.bad;
      g.fillRect(a, y, w, h);
      g.strokeStyle = colors.card;
      g.globalAlpha = 0.45;
      g.lineWidth = 2;
      g.beginPath();
      for (let s = a - h; s < a + Math.min(w, width); s += 8) { g.moveTo(s, y + h); g.lineTo(s + h, y); }
      g.stroke();
      g.restore();
    }
  }
  if (it === state.selected || it === state.hover) {
    g.lineWidth = it === state.selected ? 2.5 : 1.5;
    g.strokeStyle = colors.ink;
    round(a - 1, y - 1, b - a + 2, h + 2);
    g.stroke();
  }
  g.font = '11px system-ui, "DejaVu Sans", sans-serif';
  const left = Math.max(a, GUTTER);
  const wide = g.measureText(it.label).width;
  const hatched = it.kind !== 'conn' ? 0 : it.opened < 0 ? b : Math.min(x(it.opened), b);
  const plain = hatched - a > 2 ? Math.max(left, hatched) : left; // nothing can be read on hatching
  if (b - plain > Math.min(wide, 60) + 12) {
    g.fillStyle = colors['on-bar'];
    g.fillText(fitted(it.label, b - plain - 10), plain + 5, y + h / 2 + 1);
  } else if (Math.min(next, width) - b > 40) {
    g.fillStyle = it.bad ? colors.bad : colors.ink;
    g.fillText(fitted(it.label, Math.min(next, width) - b - 12), b + 5, y + h / 2 + 1);
  } else if (b - left > 60) { // hatched, and up to the next: a plate for the text
    const text = fitted(it.label, b - left - 16);
    g.fillStyle = colors.card;
    g.fillRect(left + 6, y + 1, g.measureText(text).width + 6, h - 2);
    g.fillStyle = it.bad ? colors.bad : colors.ink;
    g.fillText(text, left + 9, y + h / 2 + 1);
  }
}
function round(a, y, w, h) {
  g.beginPath();
  g.roundRect(a, y, Math.max(w, 2), h, Math.min(3, w / 2));
}
function step() {
  const raw = (view.to - view.from) / Math.max(2, (width - GUTTER) / 110);
  const power = 10 ** Math.floor(Math.log10(raw));
  return [1, 2, 5, 10].map(m => m * power).find(s => s >= raw);
}
function ticks(f) {
  const s = step();
  for (let t = Math.ceil((view.from - first) / s) * s; t <= view.to - first; t += s) f(t, x(t + first));
}
function grid() {
  g.strokeStyle = colors.line;
  g.lineWidth = 1;
  g.beginPath();
  ticks((t, px) => { const p = Math.round(px) + 0.5; if (p > GUTTER) { g.moveTo(p, AXIS); g.lineTo(p, height); } });
  g.stroke();
}
function axis() {
  g.fillStyle = colors.bg;
  g.fillRect(0, 0, width, AXIS);
  g.fillStyle = colors.line;
  g.fillRect(0, AXIS - 1, width, 1);
  g.fillRect(GUTTER - 1, 0, 1, height);
  g.font = '11px system-ui, "DejaVu Sans", sans-serif';
  g.fillStyle = colors.muted;
  const s = step(), digits = Math.max(0, -Math.floor(Math.log10(s / (s >= 1e9 ? 1e9 : s >= 1e6 ? 1e6 : 1e3))));
  const [unit, name] = s >= 1e8 ? [1e9, 's'] : s >= 1e5 ? [1e6, 'ms'] : s >= 100 ? [1e3, 'µs'] : [1, 'ns'];
  ticks((t, px) => { if (px >= GUTTER && px < width - 40) g.fillText((t / unit).toFixed(s / unit < 1 ? Math.max(1, digits) : 0) + ' ' + name, px + 4, AXIS / 2 + 1); });
  g.fillText('since the start', 8, AXIS / 2 + 1);
  if (drag && drag.axis && drag.moved) {
    g.globalAlpha = 0.25;
    g.fillStyle = colors.accent;
    g.fillRect(Math.min(drag.x, drag.now), 0, Math.abs(drag.now - drag.x), height);
    g.globalAlpha = 1;
  }
}
function drops() {
  for (const [t, n] of D.drops) {
    const px = x(t);
    if (px < GUTTER || px > width) continue;
    g.strokeStyle = colors.wait;
    g.setLineDash([4, 3]);
    g.beginPath();
    g.moveTo(px, AXIS);
    g.lineTo(px, height);
    g.stroke();
    g.setLineDash([]);
  }
}
// arrow joins the two sides of the selected connection.
function arrow() {
  const it = state.selected;
  if (!it || !it.id) return;
  const both = (sides.get(it.id) || []).filter(o => o.kind === 'conn');
  const asks = both.find(o => !o.accept), takes = both.find(o => o.accept);
  if (!asks || !takes) return;
  const at = {};
  rows(() => {}, (lane, y) => { for (const o of [asks, takes]) if (lane.items.includes(o)) at[o.i] = y + LANE / 2; });
  if (at[asks.i] === undefined || at[takes.i] === undefined) return;
  const x0 = x(asks.t0), x1 = x(takes.t0), y0 = at[asks.i], y1 = at[takes.i];
  g.strokeStyle = colors.ink;
  g.lineWidth = 1.5;
  g.beginPath();
  g.moveTo(x0, y0);
  g.bezierCurveTo(x0 - 26, y0, x1 - 30, y1, x1 - 2, y1);
  g.moveTo(x1 - 8, y1 - 4);
  g.lineTo(x1 - 1, y1);
  g.lineTo(x1 - 8, y1 + 4);
  g.stroke();
}

// Zoom and pan.
function show(a, b) {
  const span = Math.min(last - first, Math.max(100, b - a));
  a = Math.max(first, Math.min(a, last - span));
  view.from = a;
  view.to = a + span;
  draw();
  remember();
}
function zoom(factor, at = (view.from + view.to) / 2) { show(at - (at - view.from) * factor, at + (view.to - at) * factor); }
function pan(share) { const d = (view.to - view.from) * share; show(view.from + d, view.to + d); }
const fit = () => show(first, last);

function hit(px, py) {
  if (px < GUTTER || py < AXIS) return null;
  let best = null;
  rows(() => {}, (lane, y) => {
    if (py < y || py >= y + LANE) return;
    const near = time(px - 4), far = time(px + 4);
    for (let i = from(lane.items, near); i < lane.items.length && lane.items[i].t0 <= far; i++) if (lane.items[i].t1 >= near) best = lane.items[i];
  });
  return best;
}
let drag = null;
canvas.addEventListener('wheel', e => {
  e.preventDefault();
  if (e.shiftKey || Math.abs(e.deltaX) > Math.abs(e.deltaY)) pan((e.deltaX || e.deltaY) / width);
  else zoom(Math.exp(Math.max(-1, Math.min(1, e.deltaY / 300))), time(Math.max(GUTTER, e.offsetX)));
}, { passive: false });
canvas.addEventListener('pointerdown', e => {
  if (e.button !== 0) return;
  canvas.setPointerCapture(e.pointerId);
  drag = { x: e.offsetX, y: e.offsetY, now: e.offsetX, from: view.from, to: view.to, top: scroller.scrollTop, axis: e.offsetY < AXIS, moved: false };
});
canvas.addEventListener('pointermove', e => {
  if (!drag) { hover(e); return; }
  if (Math.abs(e.offsetX - drag.x) + Math.abs(e.offsetY - drag.y) > 3) drag.moved = true;
  if (!drag.moved) return;
  drag.now = e.offsetX;
  $('tip').hidden = true;
  if (drag.axis) { draw(); return; }
  canvas.classList.add('dragging');
  const d = (drag.x - e.offsetX) / (width - GUTTER) * (drag.to - drag.from);
  scroller.scrollTop = drag.top + drag.y - e.offsetY;
  show(drag.from + d, drag.to + d);
});
function drop(e) {
  const d = drag;
  drag = null;
  canvas.classList.remove('dragging');
  if (!d || e.type === 'pointercancel') { draw(); return; }
  if (!d.moved) select(hit(e.offsetX, e.offsetY));
  else if (d.axis && Math.abs(d.now - d.x) > 4) show(time(Math.min(d.now, d.x)), time(Math.max(d.now, d.x)));
  else draw();
}
canvas.addEventListener('pointerup', drop);
canvas.addEventListener('pointercancel', drop);
canvas.addEventListener('pointerleave', () => { $('tip').hidden = true; if (state.hover) { state.hover = null; draw(); } });
canvas.addEventListener('dblclick', e => { const it = hit(e.offsetX, e.offsetY); if (it) zoomTo(it); else zoom(0.5, time(e.offsetX)); });
function hover(e) {
  const it = hit(e.offsetX, e.offsetY), tip = $('tip');
  canvas.classList.toggle('item', it !== null);
  canvas.classList.toggle('axis', e.offsetY < AXIS);
  tip.hidden = it === null;
  if (it) {
    tip.textContent = `${it.what}\n${node(it.node)} · ${it.comm} ${it.pid} · ${duration(it.took)}\n${it.result}`;
    tip.style.left = Math.min(e.clientX + 14, window.innerWidth - tip.offsetWidth - 8) + 'px';
    tip.style.top = Math.min(e.clientY + 14, window.innerHeight - tip.offsetHeight - 8) + 'px';
  }
  if (it !== state.hover) { state.hover = it; draw(); }
}
scroller.addEventListener('scroll', draw);
function zoomTo(it) { const room = Math.max(it.took, 2000) * 0.6; show(it.t0 - room, it.t1 + room); }

canvas.addEventListener('keydown', e => {
  if (e.ctrlKey || e.metaKey || e.altKey) return;
  const act = { ArrowLeft: () => pan(-0.2), ArrowRight: () => pan(0.2), '+': () => zoom(0.6), '=': () => zoom(0.6), '-': () => zoom(1 / 0.6), '0': fit, Home: fit,
    ArrowDown: () => next(1), ArrowUp: () => next(-1), Enter: () => state.selected && zoomTo(state.selected), Escape: () => select(null),
    PageDown: () => { scroller.scrollTop += height / 2; }, PageUp: () => { scroller.scrollTop -= height / 2; } }[e.key];
  if (act) { e.preventDefault(); act(); }
});
document.addEventListener('keydown', e => {
  if (e.key === '/' && !/^(INPUT|TEXTAREA)$/.test(e.target.tagName)) { e.preventDefault(); $('search').focus(); }
});
function next(by) {
  if (found.length === 0) return;
  const at = state.selected ? found.indexOf(state.selected) : by > 0 ? -1 : 0;
  select(found[(at + by + found.length) % found.length], true);
}

// select shows an item's details; reveal moves the timeline to it.
function select(it, reveal) {
  state.selected = it;
  if (it && reveal) {
    if (it.t1 < view.from || it.t0 > view.to) { const span = view.to - view.from; show(it.t0 - span / 2, it.t0 + span / 2); }
    rows(() => {}, (lane, y) => {
      if (!lane.items.includes(it)) return;
      if (y < AXIS) scroller.scrollTop += y - AXIS - LANE;
      else if (y > height - LANE) scroller.scrollTop += y - height + 2 * LANE;
    });
  }
  for (const row of $('list').tBodies[0].rows) row.setAttribute('aria-selected', String(it !== null && Number(row.dataset.i) === it.i));
  details();
  draw();
  remember();
}
function details() {
  const it = state.selected, box = $('details');
  box.replaceChildren();
  if (!it) {
    box.append(el('h3', { textContent: 'Details' }), el('p', { className: 'hint', textContent: 'Choose an event in the timeline or the list.' }));
    return;
  }
  const rowsOf = {
    conn: () => [['Connection', it.id], ['Local', it.local], ['Remote', it.remote], ['Peer', it.peer], ['Path', it.path], ['Side', it.accept ? 'accepted it' : 'asked for it'],
      ['Set up in', it.opened >= 0 ? duration(it.opened - it.t0) : ''], ['Open for', it.opened >= 0 ? duration(it.t1 - it.opened) : ''],
      ['Waited', it.opened < 0 ? duration(it.took) : ''], ['Sent', `${bytes(it.sent)} in ${grouped(it.piecesSent)}`], ['Received', `${bytes(it.received)} in ${grouped(it.piecesReceived)}`],
      ['Round trip', it.rtt ? duration(it.rtt) : ''], ['Stream', it.stream || ''], ['Ended', it.state === 'closed' ? it.reason + (it.byPeer ? ', the far side first' : '') : it.state]],
    call: () => [['Took', it.phase === 'watched' ? 'not known: left to the kernel' : duration(it.took)], ['Result', it.result], ['Boxer', it.did], ['Connection', it.id]],
    name: () => [['Took', duration(it.took)], ['Answers', it.answers], ['Code', it.rcode || 'no answer'], ['From', it.server]],
  }[it.kind]();
  const dl = el('dl');
  for (const [k, v] of [['Node', node(it.node)], ['Program', `${it.comm}, pid ${it.pid}` + (it.tid && it.tid !== it.pid ? `, thread ${it.tid}` : '')],
    ['Began', `${offset(it.t0 - first)} (${wall(it.t0)})`], ...rowsOf]) if (v !== '' && v !== undefined) dl.append(el('dt', { textContent: k }), el('dd', { textContent: v }));
  box.append(el('h3', { className: it.kind === 'call' ? 'code' : '', textContent: it.what }));
  if (it.bad) box.append(el('p', { className: 'fail', textContent: it.kind === 'conn' ? it.result : [it.errno, it.reason].filter(Boolean).join(' — ') || 'did not return' }));
  box.append(dl);
  const zoomButton = el('button', { type: 'button', textContent: 'Zoom to it' });
  zoomButton.addEventListener('click', () => zoomTo(it));
  box.append(zoomButton);
  const related = (it.id && sides.get(it.id) || []).filter(o => o !== it).slice(0, 30);
  if (related.length) {
    const ul = el('ul', { ariaLabel: 'Of the same connection' });
    for (const o of related) {
      const b = el('button', { type: 'button', textContent: `${node(o.node)}: ${o.kind === 'conn' ? (o.accept ? 'accepted, ' : 'asked, ') + o.what : o.what} ${o.kind === 'call' ? o.result : ''}` });
      b.addEventListener('click', () => select(o, true));
      ul.append(el('li', {}, b));
    }
    box.append(ul);
  }
}

// The list.
function list() {
  const sorted = state.sort === 't0' && !state.down ? found : [...found].sort((a, b) => (a[state.sort] - b[state.sort]) * (state.down ? -1 : 1) || a.i - b.i);
  const body = $('list').tBodies[0];
  body.replaceChildren();
  for (const it of sorted.slice(0, state.rows)) {
    const row = el('tr', { tabIndex: 0 },
      el('td', { className: 'num', textContent: offset(it.t0 - first) }), el('td', { className: 'num', textContent: it.phase === 'watched' ? '' : duration(it.took) }),
      el('td', { textContent: node(it.node) }), el('td', { textContent: `${it.comm} ${it.pid}` }), el('td', { className: 'code', textContent: it.what }),
      el('td', { className: it.bad ? 'failed' : '', textContent: it.result }));
    row.dataset.i = it.i;
    row.setAttribute('aria-selected', String(it === state.selected));
    body.append(row);
  }
  $('more').hidden = sorted.length <= state.rows;
  $('found').textContent = `${grouped(found.length)} of ${grouped(items.length)} events` + (sorted.length > state.rows ? `, the first ${state.rows} listed` : '');
}
const rowItem = e => { const row = e.target.closest('tr[data-i]'); return row && items[Number(row.dataset.i)]; };
$('list').addEventListener('click', e => { const it = rowItem(e); if (it) select(it, true); });
$('list').addEventListener('keydown', e => {
  const it = rowItem(e);
  if (it && (e.key === 'Enter' || e.key === ' ')) { e.preventDefault(); select(it, true); }
});
for (const b of document.querySelectorAll('[data-sort]')) b.addEventListener('click', () => {
  state.down = state.sort === b.dataset.sort ? !state.down : b.dataset.sort === 'took';
  state.sort = b.dataset.sort;
  for (const o of document.querySelectorAll('[data-sort]')) o.parentElement.removeAttribute('aria-sort');
  b.parentElement.setAttribute('aria-sort', state.down ? 'descending' : 'ascending');
  list();
});
$('more').addEventListener('click', () => { state.rows += 200; list(); });

// The toolbar.
$('search').addEventListener('input', () => { state.q = $('search').value; state.rows = 100; filter(); });
$('search').addEventListener('keydown', e => { if (e.key === 'Escape') { $('search').value = state.q = ''; filter(); } else if (e.key === 'Enter') { canvas.focus(); next(1); } });
for (const b of document.querySelectorAll('[data-kind]')) b.addEventListener('click', () => {
  state.kinds[b.dataset.kind] = !state.kinds[b.dataset.kind];
  b.setAttribute('aria-pressed', String(state.kinds[b.dataset.kind]));
  filter();
});
$('failed').addEventListener('click', () => { state.failed = !state.failed; $('failed').setAttribute('aria-pressed', String(state.failed)); filter(); });
$('zoom-in').addEventListener('click', () => zoom(0.5));
$('zoom-out').addEventListener('click', () => zoom(2));
$('fit').addEventListener('click', fit);

// Dark and light: as the system has it, until the button is used.
const system = matchMedia('(prefers-color-scheme: dark)');
const dark = () => (document.documentElement.dataset.theme || (system.matches ? 'dark' : 'light')) === 'dark';
function themed() {
  $('theme').textContent = dark() ? 'Light' : 'Dark';
  readColors();
  draw();
}
$('theme').addEventListener('click', () => {
  document.documentElement.dataset.theme = dark() ? 'light' : 'dark';
  try { localStorage.setItem('boxer-trace-theme', document.documentElement.dataset.theme); } catch { /* files may have no storage */ }
  themed();
});
system.addEventListener('change', themed);
try { const kept = localStorage.getItem('boxer-trace-theme'); if (kept) document.documentElement.dataset.theme = kept; } catch { /* as above */ }

// What is shown is in the address, so that it can be passed on: #q=WORDS&from=NS&to=NS&event=N.
let remembering = 0;
function remember() {
  clearTimeout(remembering);
  remembering = setTimeout(() => {
    const p = new URLSearchParams();
    if (state.q) p.set('q', state.q);
    if (view.from !== first || view.to !== last) { p.set('from', Math.round(view.from)); p.set('to', Math.round(view.to)); }
    if (state.selected) p.set('event', state.selected.i);
    try { history.replaceState(null, '', '#' + p); } catch { /* some browsers limit it */ }
  }, 300);
}
function recall() {
  const p = new URLSearchParams(location.hash.slice(1));
  state.q = $('search').value = p.get('q') || '';
  const a = Number(p.get('from')), b = Number(p.get('to'));
  if (p.has('from') && b > a) { view.from = Math.max(first, a); view.to = Math.min(last, b); }
  state.selected = items[Number(p.get('event'))] && p.has('event') ? items[Number(p.get('event'))] : null;
}

// The fixed parts.
const nodeNames = D.nodes.map(n => n.name).filter(Boolean);
document.title = `boxer trace: ${nodeNames.join(', ')}`;
$('title').textContent = nodeNames.join(', ') || 'boxer trace';
$('subtitle').textContent = [D.nodes.map(n => n.program).filter(Boolean).join(', '), wall(first), duration(last - first), ...D.nodes.length === 1 ? D.nodes[0].addrs : []].filter(Boolean).join(' · ');
for (const [name, n, bad] of D.figures) $('figures').append(el('li', { className: bad && n > 0 ? 'bad' : '' }, el('b', { textContent: grouped(n) }), el('span', { textContent: name })));
for (const text of D.notes) $('notes').append(el('p', { className: 'note', textContent: text }));
const used = new Set(items.map(it => it.color));
for (const [name, text] of [['punched', 'punched'], ['lan', 'LAN'], ['same', 'same host'], ['relayed', 'relayed'], ['other', 'other connection'], ['name', 'look-up'], ['call', 'call'], ['bad', 'failed']])
  if (used.has(name)) $('legend').append(el('li', {}, el('i', { className: 'c-' + name }), text));
if (D.conns.length) $('legend').append(el('li', {}, el('i', { className: 'c-wait' }), 'being set up'));
for (const t of D.tables) {
  const head = el('tr'), body = el('tbody');
  for (const c of t.columns) head.append(el('th', { scope: 'col', className: c.right ? 'num' : '', textContent: c.name }));
  for (const r of t.rows) body.append(el('tr', {}, ...r.map((cell, i) => el('td', { className: t.columns[i].right ? 'num' : '', textContent: cell }))));
  const id = 'table-' + t.title.toLowerCase().replace(/\W+/g, '-');
  const section = el('section', { className: 'card' }, el('div', { className: 'bar' }, el('h2', { id, textContent: t.title })),
    el('div', { className: 'wide' }, el('table', {}, el('thead', {}, head), body)));
  section.setAttribute('aria-labelledby', id);
  $('tables').append(section);
}
recall();
readColors();
resize();
themed();
filter();
details();
new ResizeObserver(resize).observe(scroller);
document.documentElement.dataset.ready = 'true';
})();
