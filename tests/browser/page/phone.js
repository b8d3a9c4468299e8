// A telephone in a page: JsSIP with what the tests ask of it. `phone.events` tells what happened, `phone.heard()` what came by RTP.
const JsSIP = require('jssip');

const RATE = 8000;
const events = [];
const tell = (name, facts = {}) => events.push({ name, ...facts });
let agent = null;
let call = null;
let first = null;   // the call on hold during a consultation
let samples = [];
let context = null;

// The far end's sound at 8 kHz; a remote stream flows only while an element plays it.
async function listen(stream) {
  document.getElementById('ear').srcObject = stream;
  if (context) context.close();
  const own = [];
  samples = own;
  context = new AudioContext({ sampleRate: RATE });
  const source = context.createMediaStreamSource(stream);
  const tap = context.createScriptProcessor(1024, 1, 1);
  tap.onaudioprocess = (event) => own.push(Float32Array.from(event.inputBuffer.getChannelData(0)));
  source.connect(tap);
  tap.connect(context.destination);
  await context.resume();
}

function watch(session) {
  call = session;
  samples = [];
  const connection = (peer) => {
    peer.addEventListener('track', (event) => listen(event.streams[0] || new MediaStream([event.track])));
    peer.addEventListener('connectionstatechange', () => tell('connection', { state: peer.connectionState }));
  };
  if (session.connection) connection(session.connection);
  session.on('peerconnection', (data) => connection(data.peerconnection));
  session.on('sdp', (data) => tell('sdp', { by: data.originator, type: data.type, sdp: data.sdp }));
  for (const name of ['progress', 'accepted', 'confirmed', 'hold', 'unhold']) session.on(name, () => tell(name));
  for (const name of ['ended', 'failed']) {
    session.on(name, (data) => tell(name, { by: data.originator, cause: data.cause, status: data.message && data.message.status_code }));
  }
  session.on('newDTMF', (data) => tell('dtmf', { by: data.originator, tone: data.dtmf.tone }));
}

const MEDIA = { mediaConstraints: { audio: { autoGainControl: false, echoCancellation: false, noiseSuppression: false }, video: false } };

window.phone = {
  events,
  register({ url, uri, password, agentName }) {
    const socket = new JsSIP.WebSocketInterface(url);
    agent = new JsSIP.UA({ sockets: [socket], uri, password, register: true, register_expires: 300, user_agent: agentName, session_timers: false });
    for (const name of ['connected', 'disconnected', 'registered', 'unregistered']) agent.on(name, () => tell(name));
    agent.on('registrationFailed', (data) => tell('registrationFailed', { cause: data.cause }));
    agent.on('newRTCSession', (data) => {
      watch(data.session);
      if (data.originator === 'remote') tell('incoming', { from: data.session.remote_identity.uri.user, display: data.session.remote_identity.display_name });
    });
    agent.start();
  },
  unregister() { agent.unregister(); },
  stop() { agent.stop(); },
  dial(target, options = {}) { agent.call(target, { ...MEDIA, ...options }); },
  answer() { call.answer(MEDIA); },
  hangUp() { call.terminate(); },
  // Both wait for the answer of the far end: a new offer is not made while one is open.
  hold() { return new Promise((done) => { call.hold({}, () => done(true)); }); },
  resume() { return new Promise((done) => { call.unhold({}, () => done(true)); }); },
  // ICE again, as a browser does when its network changes.
  restart() { return new Promise((done) => { if (!call.renegotiate({ rtcOfferConstraints: { iceRestart: true } }, () => done(true))) done(false); }); },
  refer(target) { call.refer(target, { eventHandlers: { accepted: () => tell('referred'), failed: () => tell('referFailed') } }); },
  // A consultation: the call in hand is put on hold, another begins; `handOver` joins the two far ends (REFER with Replaces).
  async consult(target) {
    await this.hold();
    first = call;
    agent.call(target, MEDIA);
    return true;
  },
  handOver() {
    const progress = (name) => tell(`handOver-${name}`);
    first.refer(call.remote_identity.uri, {
      replaces: call,
      eventHandlers: { accepted: () => progress('accepted'), failed: () => progress('failed'), requestFailed: () => progress('refused') },
    });
  },
  key(tone, transport) { call.sendDTMF(tone, { transportType: transport || 'RFC2833', duration: 120, interToneGap: 120 }); },
  heard() {
    let text = '';
    for (const part of samples) {
      const block = new Int16Array(part.length);
      for (let i = 0; i < part.length; i += 1) block[i] = Math.max(-32768, Math.min(32767, Math.round(part[i] * 32767)));
      text += String.fromCharCode(...new Uint8Array(block.buffer));
    }
    return btoa(text);
  },
  async statistics() {
    const found = {};
    for (const report of (await call.connection.getStats()).values()) {
      if (['inbound-rtp', 'outbound-rtp', 'remote-inbound-rtp', 'transport', 'codec'].includes(report.type)) found[report.type] = { ...found[report.type], ...report };
    }
    return found;
  },
};
