/**
 * Carries a connection's bytes in order: a TCP socket, TLS, WebSocket messages or memory. A transport calls `receive`,
 * `ended` and `transportGone` of its connection.
 */
export interface Transport {
  /** Common name in the peer's verified certificate; null without one. */
  readonly identity: string | null
  /** Bytes passed to the transport that it has not sent yet. */
  readonly queuedBytes: number
  /** Sends all parts in one write. Parts are kept by reference until sent. */
  write(parts: readonly Uint8Array[]): void
  /** Flushes, then ends this side's direction. Bytes that arrive afterwards are still received. */
  end(): void
  /** Closes both directions immediately. */
  destroy(): void
}
