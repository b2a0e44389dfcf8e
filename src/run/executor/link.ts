import type { Connection } from '../wire/types.ts'

/** Where an executor's connections come from: a CloudLink, or a FixedLink. */
export interface EdgeLink {
  /** Null: there is none at present. */
  readonly connection: Connection | null
  /** By the clock of the link; null while there is a connection. */
  readonly downSinceSeconds: number | null
  /** Whether a connection follows one that is gone. */
  readonly resumes: boolean
  /** Each connection as it comes, and at once the present one. */
  onConnection(listener: (connection: Connection) => void): void
  /** Before a request that the cloud refused is tried for the (attempt + 1)th time. */
  retrySeconds(attempt: number): number
}

/** One connection: once it is gone, it is gone for good, and requests that need it fail. */
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

export function fixedLink(connection: Connection): FixedLink {
  return new FixedLink(connection)
}
