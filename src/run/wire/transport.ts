/**
 * What carries a connection's bytes in order: a TCP socket, TLS, WebSocket messages or memory. A carriage
 * calls `receive`, `ended` and `gone` of the connection that it serves.
 */
export interface Transport {
  /** Common name in the peer's verified certificate; null where there is none. */
  readonly identity: string | null
  /** Bytes handed over and not yet taken. */
  readonly queuedBytes: number
  /** Takes all parts in one write. Parts are kept by reference until they have left. */
  write(parts: readonly Uint8Array[]): void
  /** Flushes, then ends our direction. What arrives afterwards is still taken. */
  end(): void
  /** Cuts both directions at once. */
  destroy(): void
}
