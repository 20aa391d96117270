// Frames per second from getStats: decoded ones of others, sent ones of our own.

export class FrameMeter {
  #before = new Map(); // by tile: {frames, timestamp}

  // measure calls show(id, fps) for every tile that has video.
  async measure(peer, tiles, ownID, show) {
    const reports = await peer.getStats();
    const counts = new Map();
    const owners = new Map();
    for (const id of tiles.ids) {
      const track = tiles.get(id).querySelector("video").srcObject.getVideoTracks()[0];
      if (track) owners.set(track.id, id);
    }
    for (const report of reports.values()) {
      if (report.kind !== "video") continue;
      if (report.type === "inbound-rtp" && owners.has(report.trackIdentifier)) {
        counts.set(owners.get(report.trackIdentifier), { frames: report.framesDecoded ?? 0, timestamp: report.timestamp });
      } else if (report.type === "outbound-rtp") {
        counts.set(ownID, { frames: report.framesSent ?? 0, timestamp: report.timestamp });
      }
    }
    for (const [id, now] of counts) {
      const before = this.#before.get(id);
      this.#before.set(id, now);
      if (before && now.timestamp > before.timestamp) {
        const fps = (now.frames - before.frames) * 1000 / (now.timestamp - before.timestamp);
        show(id, Math.max(0, Math.round(fps)));
      }
    }
  }
}
