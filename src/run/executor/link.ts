import type { Connection } from '../wire/types.ts'

/** Gives an executor its connections: a CloudLink or a FixedLink. */
export interface EdgeLink {
  /** Null while there is none. */
  readonly connection: Connection | null
  /** On the link's clock; null while there is a connection. */
  readonly downSinceSeconds: number | null
  /** Whether a lost connection is replaced by another one. */
  readonly resumes: boolean
  /** Registers a listener for every connection; it is called immediately with the current one. */
  onConnection(listener: (connection: Connection) => void): void
  /** Wait before the (attempt + 1)th try of a request that the cloud refused. */
  retrySeconds(attempt: number): number
}

/** A single connection: when it is lost, requests that need it fail. */
export class FixedLink implements EdgeLink {
  readonly resumes = false
  downSinceSeconds: number | null = null
  private readonly inner: Connection
  private open = true

  constructor(inner: Connection) {
    this.inner = inner
    inner.onClose(() => (this.open = false))
  }

  get connection(): Connection | null {
    return this.open ? this.inner : null
  }

  onConnection(listener: (connection: Connection) => void): void {
    listener(this.inner)
  }

  retrySeconds(): number {
    return 0
  }
}

/** Creates a link from one connection. */
export function fixedLink(connection: Connection): FixedLink {
  return new FixedLink(connection)
}
