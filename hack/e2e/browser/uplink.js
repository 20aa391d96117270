// How a tab's sending begins. To be imported before the client library, whose peer connection it looks at.

// watched is how long the tab is looked at, in ms from when it is connected.
const watched = 5000

let plain = false
let begun
const { setRemoteDescription } = RTCPeerConnection.prototype
RTCPeerConnection.prototype.setRemoteDescription = function ({ type, sdp }) {
  begun ??= new Promise((resolve) => this.addEventListener("connectionstatechange", () => {
    if (this.connectionState === "connected") resolve(watch(this))
  }))
  return setRemoteDescription.call(this, { type, sdp: plain ? without(sdp) : sdp })
}

// Has the tab not know transport-wide feedback: it is offered none.
window.forgoTransportCC = () => { plain = true }
const without = (sdp) => sdp.replace(/^a=(rtcp-fb:\S+ transport-cc|extmap:.*transport-wide-cc.*)\r\n/gm, "")

// When the first picture of the largest size left, in seconds from when the tab was connected (Chromium's statistics are
// up to 50 ms old), and how many keyframes were encoded of all sizes. Padding, which tries the way, is no picture.
window.beginning = () => begun
async function watch(connection) {
  const connected = performance.now()
  const result = { largestSeconds: 0, keyframes: 0 }
  for (let now = connected; now < connected + watched; now = performance.now()) {
    const sent = [...(await connection.getStats()).values()].filter((report) => report.type === "outbound-rtp" && report.rid)
    result.keyframes = sent.reduce((sum, report) => sum + (report.keyFramesEncoded ?? 0), 0)
    if (sent.some((report) => report.rid === "r2" && report.framesSent > 0)) {
      result.largestSeconds ||= (performance.now() - connected) / 1000
    }
    await new Promise((resolve) => setTimeout(resolve, 10))
  }
  return result
}
