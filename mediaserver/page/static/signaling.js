// A small client of the signalling protocol; docs/signaling.md describes it.

// Firefox gathers no loopback candidates, and no preference makes it send to a
// loopback address. It would wait for 30 s, in vain.
const sendsToLoopback = !/\bFirefox\//.test(navigator.userAgent);

const isLoopback = (address) => address.startsWith("127.") || address === "::1";

// addressesOf lists where the media server can be reached (RFC 8839 section 5.1).
const addressesOf = (sdp) => [...sdp.matchAll(/^a=candidate:\S+ 1 \S+ \d+ (\S+) \d+ /gm)].map(([, address]) => address);

// Signaling joins one channel. Its events: "joined" (detail: own connection id),
// "notify" (detail: the message), "track" (detail: {track, senderID}),
// "unreachable" (detail: the media server's addresses, none of which this browser
// sends to), "left" (detail: {code, reason}).
export class Signaling extends EventTarget {
  connectionID = "";
  peer = null;
  #socket;
  #connect;
  #stream;
  // One message at a time: descriptions must not overtake each other.
  #work = Promise.resolve();

  constructor(url, connect, stream) {
    super();
    this.#connect = { type: "connect", ...connect };
    this.#stream = stream;
    this.#open(url);
  }

  #open(url) {
    this.#socket = new WebSocket(url);
    this.#socket.onopen = () => this.#send(this.#connect);
    this.#socket.onmessage = ({ data }) => this.#receive(JSON.parse(data));
    this.#socket.onclose = ({ code, reason }) => {
      this.peer?.close();
      this.#tell("left", { code, reason });
    };
  }

  // #redirect goes on at the media server that the channel is on.
  #redirect({ location }) {
    this.#socket.onclose = null;
    this.#socket.close();
    this.#connect.redirect = true;
    this.#open(location);
  }

  leave() {
    if (this.#socket.readyState === WebSocket.OPEN) this.#send({ type: "disconnect", reason: "NO-ERROR" });
    else this.#socket.close();
    this.peer?.close();
  }

  #receive(message) {
    switch (message.type) {
      case "ping": this.#send({ type: "pong" }); break;
      case "notify": this.#notify(message); break;
      case "redirect": this.#redirect(message); break;
      case "offer": this.#queue(() => this.#start(message)); break;
      case "re-offer": this.#queue(() => this.#answer(message.sdp, "re-answer")); break;
    }
  }

  #queue(task) {
    this.#work = this.#work.then(task).catch((error) => {
      console.error(error);
      this.#socket.close(4000, "PAGE-ERROR");
    });
  }

  #notify(message) {
    this.#tell("notify", message);
    if (message.event_type === "connection.created" && message.connection_id === this.connectionID) {
      this.#tell("joined", this.connectionID);
    }
  }

  async #start(offer) {
    const addresses = addressesOf(offer.sdp);
    if (!sendsToLoopback && addresses.every(isLoopback)) {
      this.#tell("unreachable", addresses);
      this.leave();
      return;
    }
    this.connectionID = offer.connection_id;
    this.peer = new RTCPeerConnection(offer.config);
    this.peer.onicecandidate = ({ candidate }) => {
      if (candidate) this.#send({ type: "candidate", ...candidate.toJSON() });
    };
    this.peer.ontrack = ({ track, streams }) => this.#tell("track", { track, senderID: streams[0]?.id });
    await this.#answer(offer.sdp, "answer");
  }

  // #answer adds the own tracks only after the first offer is in place, so that
  // they bind to the m-lines that it has for them.
  async #answer(sdp, type) {
    await this.peer.setRemoteDescription({ type: "offer", sdp });
    if (type === "answer") {
      for (const track of this.#stream?.getTracks() ?? []) this.peer.addTrack(track, this.#stream);
    }
    await this.peer.setLocalDescription(await this.peer.createAnswer());
    this.#send({ type, sdp: this.peer.localDescription.sdp });
  }

  #send(message) {
    if (this.#socket.readyState === WebSocket.OPEN) this.#socket.send(JSON.stringify(message));
  }

  #tell(type, detail) { this.dispatchEvent(new CustomEvent(type, { detail })); }
}
