import { DEFAULT_ADDRESS, parseAddress, type Address } from '../../core/address.ts'
import { systemClock } from '../../core/clock.ts'
import { systemTimers, type Timers } from '../../core/timers.ts'
import type { RuntimePrecision } from '../../model/precision.ts'
import type { TransportOptions } from '../../run/executor/connectToCloud.ts'
import { listen, type WireServer } from '../../run/wire/server.ts'
import { openSide, type OpenedSide, type SideOptions } from '../side.ts'
import { CloudServer } from './cloudServer.ts'
import { serveStatus } from './statusPage.ts'
import type { CloudEvent } from './types.ts'

/** What a cloud is opened with: its model, where it listens, and whom it lets in. */
export interface CloudOptions extends SideOptions {
  /** Default 127.0.0.1:7400; port 0 is any free one. Loopback only, unless `transport` has TLS. */
  readonly listen?: Address
  /** Default: plain TCP. */
  readonly transport?: TransportOptions
  /** Common names of the certificates that may connect; default: all of the authority. */
  readonly allow?: readonly string[]
  /** Where health and metrics are served, on loopback; default: nowhere. */
  readonly status?: Address
  readonly limits?: Partial<CloudLimits>
  /** Hears of every connection. */
  readonly onEvent?: (event: CloudEvent) => void
  /** Default: the system's. */
  readonly timers?: Timers
}

/** What the edges together may take of a cloud. */
export interface CloudLimits {
  /** Sequences that decode in one run; 1 switches batching off. */
  readonly maxBatch: number
  /** What caches and messages of all requests may hold together; more is refused with E_BUSY. */
  readonly sessionBytes: number
  /** A request whose edge is silent for so long is freed. */
  readonly idleSeconds: number
  /** Edges at a time. */
  readonly maxConnections: number
}

export const DEFAULT_CLOUD_LIMITS: CloudLimits = {
  maxBatch: 8,
  sessionBytes: 4096e6,
  idleSeconds: 120,
  maxConnections: 64,
}

/** A cloud that listens for edges. */
export interface Cloud {
  /** Where it listens, with the port that it got. */
  readonly address: Address
  /** Where health and metrics are served, or null. */
  readonly statusAddress: Address | null
  readonly model: { readonly id: string; readonly fingerprint: string }
  readonly precision: RuntimePrecision
  readonly maxBatch: number
  /** Edges that are connected. */
  readonly connections: number
  /** Refuses new requests, gives those under way `drainSeconds` (default 30), then closes everything. */
  close(options?: { readonly drainSeconds?: number }): Promise<void>
}

/**
 * Opens a model and carries out the cloud part of its requests for every edge that connects. Throws InputError for a
 * model that cannot be read and for an address that cannot be listened on.
 */
export async function createCloud(options: CloudOptions): Promise<Cloud> {
  const limits: CloudLimits = { ...DEFAULT_CLOUD_LIMITS, ...options.limits }
  const side = await openSide(options, limits.maxBatch)
  try {
    return await listenForEdges(options, limits, side)
  } catch (error) {
    await side.close()
    throw error
  }
}

async function listenForEdges(options: CloudOptions, limits: CloudLimits, side: OpenedSide): Promise<Cloud> {
  const { clock = systemClock, timers = systemTimers, onEvent = () => {} } = options
  const { sessionBytes, idleSeconds, maxConnections, maxBatch } = limits
  const { status: statusAt, transport, allow } = options
  const address = options.listen ?? parseAddress('listen', DEFAULT_ADDRESS)
  const server = new CloudServer({ side, sessionBytes, idleSeconds, clock, onEvent })
  const status = statusAt === undefined ? null : await serveStatus(statusAt, server)
  let wire: WireServer
  try {
    wire = await listen({
      ...address,
      ...transport,
      clock,
      timers,
      maxConnections,
      allow: allow === undefined ? undefined : (identity) => allow.includes(identity),
      greet: (peer) => server.greet(peer),
      onConnection: (connection) => server.admit(connection),
      onRejected: (error) => server.rejected(error),
    })
  } catch (error) {
    await status?.close()
    throw error
  }
  const end = async (drainSeconds: number): Promise<void> => {
    await within(drainSeconds, timers, server.drain())
    await wire.close()
    await status?.close()
    await side.close()
  }
  let closed: Promise<void> | null = null
  return {
    address: { host: wire.address, port: wire.port },
    statusAddress: status && { host: statusAt!.host, port: status.port },
    model: side.greeting.model,
    precision: side.precision,
    maxBatch,
    get connections() {
      return server.connections
    },
    close: ({ drainSeconds = 30 } = {}) => (closed ??= end(drainSeconds)),
  }
}

/** Resolves with `work`, or after `seconds`. */
async function within(seconds: number, timers: Timers, work: Promise<void>): Promise<void> {
  let stop = (): void => {}
  const late = new Promise<void>((resolve) => (stop = timers.after(seconds, resolve, true)))
  await Promise.race([work, late]).finally(() => stop())
}
