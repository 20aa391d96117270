// What a tab gets, whichever client library is in it. To be imported before that library: it notes the peer connections
// that are made.
const connections = []
window.RTCPeerConnection = class extends RTCPeerConnection {
  constructor(...options) {
    super(...options)
    connections.push(this)
    this.addEventListener("icecandidate", (event) => { if (detoured && event.candidate) event.stopImmediatePropagation() })
    this.addEventListener("track", ({ track }) => {
      if (hearing && track.kind === "audio") document.body.append(Object.assign(new Audio(), { srcObject: new MediaStream([track]), autoplay: true }))
    })
  }
}

// Has the tab play the sound that comes from then on. Without, there is nothing that pictures could be in time with.
let hearing = false
window.hear = (does) => { hearing = does }

// How well the tab gets what it gets of one sender, since it came.
window.quality = async () => {
  const sum = {}
  for (const connection of connections) {
    for (const report of (await connection.getStats()).values()) {
      if (report.type !== "inbound-rtp") continue
      const buffer = { delay: report.jitterBufferDelay ?? 0, emitted: report.jitterBufferEmittedCount ?? 0 }
      if (report.kind === "audio") {
        Object.assign(sum, { audioReceived: report.packetsReceived, audioLost: report.packetsLost, audioBuffer: buffer })
      } else {
        Object.assign(sum, {
          width: report.frameWidth ?? 0, decoded: report.framesDecoded ?? 0, dropped: report.framesDropped ?? 0,
          freezes: report.freezeCount ?? 0, frozenSeconds: report.totalFreezesDuration ?? 0, videoBuffer: buffer,
        })
      }
    }
  }
  return sum
}

// Has media go by way of a relay, HOST:PORT, in place of the server's address, which never learns of the browser's own
// addresses: it would go past the relay. It is to be called before there are any.
let detoured = false
window.detour = (relay) => {
  detoured = true
  const [host, port] = relay.split(":")
  const by = (text) => text?.replace(/(candidate:\S+ \d+ udp \d+) \S+ \d+/gi, `$1 ${host} ${port}`)
  const { addIceCandidate, setRemoteDescription, createOffer, createAnswer } = RTCPeerConnection.prototype
  RTCPeerConnection.prototype.addIceCandidate = function (candidate) {
    return addIceCandidate.call(this, candidate && { ...(candidate.toJSON?.() ?? candidate), candidate: by(candidate.candidate) })
  }
  RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
    return setRemoteDescription.call(this, { type, sdp: by(sdp) })
  }
  const hidden = ({ type, sdp }) => ({ type, sdp: sdp.replace(/^a=candidate:.*\r\n/gm, "") })
  RTCPeerConnection.prototype.createOffer = async function (...options) { return hidden(await createOffer.apply(this, options)) }
  RTCPeerConnection.prototype.createAnswer = async function (...options) { return hidden(await createAnswer.apply(this, options)) }
  const { get } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(RTCPeerConnection.prototype), "localDescription")
  Object.defineProperty(RTCPeerConnection.prototype, "localDescription", {
    get() { const own = get.call(this); return own && hidden(own) },
  })
}
