// One tile for everybody who sends.

export const short = (connectionID) => connectionID.slice(0, 6);

export class Tiles {
  #root = document.getElementById("tiles");
  #template = document.getElementById("tile-template");
  #tiles = new Map();
  #muted = true;
  #act;

  // act(action, senderID) is called for the buttons.
  constructor(act) { this.#act = act; }

  get(id) { return this.#tiles.get(id); }

  // show makes the tile of a connection, or brings it up to date.
  show(id, clientID, own = false) {
    const tile = this.#tiles.get(id) ?? this.#make(id, own);
    const name = own ? `${clientID} (you)` : clientID;
    tile.querySelector("[data-role=client]").textContent = name;
    tile.setAttribute("aria-label", name);
    for (const button of tile.querySelectorAll("[data-action]")) {
      button.setAttribute("aria-label", `${button.textContent} ${clientID}’s video for me`);
    }
    return tile;
  }

  #make(id, own) {
    const tile = this.#template.content.cloneNode(true).querySelector(".tile");
    tile.dataset.connectionId = id;
    tile.dataset.own = own;
    tile.dataset.paused = false;
    tile.dataset.rejected = "";
    tile.dataset.fps = "";
    tile.querySelector("[data-role=connection]").textContent = short(id);
    tile.querySelector("[data-role=connection]").title = id;
    const video = tile.querySelector("video");
    video.srcObject = new MediaStream();
    video.muted = own || this.#muted;
    if (own) tile.querySelector(".buttons").remove();
    for (const button of tile.querySelectorAll("[data-action]")) {
      button.addEventListener("click", () => this.#act(button.dataset.action, id));
    }
    this.#tiles.set(id, tile);
    own ? this.#root.prepend(tile) : this.#root.append(tile);
    this.setPaused(id, false);
    return tile;
  }

  addTrack(id, track) {
    const stream = this.#tiles.get(id).querySelector("video").srcObject;
    // A later stream of the same sender takes the place of the earlier one.
    for (const old of stream.getTracks()) if (old.kind === track.kind) stream.removeTrack(old);
    stream.addTrack(track);
  }

  // setPaused shows that the video does not come, and why, if that is known.
  setPaused(id, paused, reason = "") {
    const tile = this.#tiles.get(id);
    if (!tile || tile.dataset.own === "true") return;
    tile.dataset.paused = paused;
    const { rejected } = tile.dataset;
    const overlay = tile.querySelector(".overlay");
    overlay.hidden = !paused && !rejected;
    if (!paused) overlay.textContent = `this browser cannot decode ${rejected}`;
    else overlay.textContent = reason ? `paused: ${reason}` : "paused";
  }

  // setRejected shows that the video does not come: it is in a codec that the browser does not know.
  setRejected(id, codecType) {
    const tile = this.#tiles.get(id);
    if (!tile) return;
    tile.dataset.rejected = codecType;
    this.setPaused(id, tile.dataset.paused === "true");
  }

  setFPS(id, fps) {
    const tile = this.#tiles.get(id);
    if (!tile) return;
    tile.dataset.fps = fps;
    tile.querySelector("[data-role=fps]").textContent = `${fps} frames/s`;
  }

  setMuted(muted) {
    this.#muted = muted;
    for (const tile of this.#tiles.values()) {
      if (tile.dataset.own !== "true") tile.querySelector("video").muted = muted;
    }
  }

  remove(id) {
    this.#tiles.get(id)?.remove();
    this.#tiles.delete(id);
  }

  clear() { for (const id of [...this.#tiles.keys()]) this.remove(id); }

  get ids() { return [...this.#tiles.keys()]; }
}
