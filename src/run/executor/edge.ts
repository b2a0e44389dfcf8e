import type { Clock } from '../../core/clock.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { readRefusal } from '../wire/payloads.ts'
import { systemTimers, type Timers } from '../../core/timers.ts'
import { FRAME, type Connection, type Frame } from '../wire/types.ts'
import type { CloudStream, CloudStreamHost } from './cloudStream.ts'
import type { CloudLink } from './cloudLink.ts'
import { SplitGenerator, type GenerateOptions, type GeneratorHost } from './generator.ts'
import type { EdgeMemoryBudget } from './memoryBudget.ts'
import { RetransmitBudget } from './retransmit.ts'
import type { FixedLink } from './link.ts'
import { readLoad, type CloudLoad } from './load.ts'
import { PlanRegistry } from './planRegistry.ts'
import type { GeneratorHandle, RecoveryEvent } from './recoveryTypes.ts'
import { checkRequest } from './request.ts'
import type { SubgraphRunner } from './subgraphRunner.ts'
import { Semaphore } from './semaphore.ts'
import type { GenerationRequest, RequestOutput } from './types.ts'

export type { GenerateOptions } from './generator.ts'

/** Options of an edge executor. */
interface EdgeOptions {
  readonly model: ModelSpec
  readonly runner: SubgraphRunner
  readonly clock: Clock
  readonly timers?: Timers
  /** Null: plans that need the cloud are refused. */
  readonly link: CloudLink | FixedLink | null
  /** Largest number of requests executed at once; further ones wait, first come, first served. */
  readonly maxInFlight: number
  /** Bytes of boundary tensors that all requests together keep for a replay; default 256 MiB. */
  readonly maxKeptBytes?: number
  /** What weights, K/V and kept tensors may take together; without it, only what is kept is limited. */
  readonly memory?: EdgeMemoryBudget
  /** Called with the events of requests; events of the link come from the link. */
  readonly onEvent?: (event: RecoveryEvent) => void
}

/** Default of EdgeOptions.maxKeptBytes. */
const DEFAULT_RETRANSMIT_BYTES = 256 * 2 ** 20

/** Executes requests on the edge, with the cloud at the other end of `link`. */
export class EdgeExecutor {
  private readonly options: EdgeOptions
  private readonly slots: Semaphore
  private readonly kept: RetransmitBudget
  private readonly host: GeneratorHost
  private readonly streams = new Set<CloudStream>()
  private readonly numbers = new Map<number, CloudStream>()
  private readonly offsets = new WeakMap<Connection, Promise<number>>()
  private readonly eventListeners: ((event: RecoveryEvent) => void)[] = []
  private readonly loadListeners: ((load: CloudLoad) => void)[] = []
  private lastRequest = 0
  private lastNumber = 0

  constructor(options: EdgeOptions) {
    this.options = options
    this.slots = new Semaphore(options.maxInFlight)
    const { memory, maxKeptBytes = DEFAULT_RETRANSMIT_BYTES } = options
    this.kept = new RetransmitBudget(() => Math.min(maxKeptBytes, memory?.keptLimitBytes ?? Infinity))
    if (memory !== undefined) memory.keptBytes = () => this.kept.usedBytes
    if (options.onEvent !== undefined) this.eventListeners.push(options.onEvent)
    this.host = this.hostOf(options)
    options.link?.onConnection((connection) => this.attach(connection))
  }

  get inFlight(): number {
    return this.slots.taken
  }

  get waiting(): number {
    return this.slots.waiting
  }

  /** Bytes of boundary tensors currently kept. */
  get retransmitBytes(): number {
    return this.kept.usedBytes
  }

  /** Bytes that the connection has not sent yet. */
  get queuedBytes(): number {
    return this.options.link?.connection?.queuedBytes ?? 0
  }

  onEvent(listener: (event: RecoveryEvent) => void): void {
    this.eventListeners.push(listener)
  }

  /** Registers a listener for the cloud's load reports, about one per second while the load changes. */
  onLoad(listener: (load: CloudLoad) => void): void {
    this.loadListeners.push(listener)
  }

  /**
   * Generates until `maxNewTokens` or a stop id. Throws InputError for an impossible request. The handle's result
   * rejects with ExecutionError if the request could not continue; tokens so far went to `onToken`.
   */
  start(request: GenerationRequest, options: GenerateOptions = {}): GeneratorHandle {
    checkRequest(this.options.model, request)
    this.lastRequest++
    return new SplitGenerator(this.host, this.lastRequest, request, options)
  }

  /** Like `start(...).result`, but also rejects for an impossible request. */
  async generate(request: GenerationRequest, options: GenerateOptions = {}): Promise<RequestOutput> {
    return await this.start(request, options).result
  }

  private hostOf({ model, runner, clock, timers = systemTimers, link, memory }: EdgeOptions): GeneratorHost {
    const streams: CloudStreamHost | null = link && {
      model,
      clock,
      timers,
      link,
      kept: this.kept,
      plans: new PlanRegistry(model),
      streams: this.streams,
      numbers: this.numbers,
      nextNumber: () => ++this.lastNumber,
    }
    return {
      model,
      runner,
      clock,
      timers,
      link,
      streams,
      slots: this.slots,
      memory: memory ?? null,
      onEvent: (event) => {
        for (const listener of this.eventListeners) listener(event)
      },
      clockOffset: (connection) => this.clockOffset(connection),
    }
  }

  private attach(connection: Connection): void {
    connection.onFrame((frame) => this.take(frame))
    for (const stream of [...this.streams]) stream.attach(connection)
    connection.onClose(({ message }) => {
      for (const stream of [...this.streams]) stream.detach(connection, message)
    })
  }

  private take(frame: Frame): void {
    if (frame.type === FRAME.load) {
      const load = readLoad(frame)
      for (const listener of this.loadListeners) listener(load)
      return
    }
    const stream = this.numbers.get(frame.request)
    if (stream === undefined) return
    try {
      if (frame.type === FRAME.fail) {
        const { code, message } = readRefusal(frame)
        stream.refused(code, message)
      } else stream.receive(frame)
    } catch (error) {
      stream.receiveBuffer.fail(error as Error)
    }
  }

  /** The cloud's clock minus ours, measured once per connection. */
  private clockOffset(connection: Connection): Promise<number> {
    let offset = this.offsets.get(connection)
    if (offset === undefined) {
      offset = quickestOffset(connection)
      this.offsets.set(connection, offset)
    }
    return offset
  }
}

const OFFSET_PINGS = 5

/** The cloud's clock minus ours, from the fastest of a few pings, which was delayed least. */
async function quickestOffset(connection: Connection): Promise<number> {
  let best = await connection.ping()
  for (let i = 1; i < OFFSET_PINGS; i++) {
    const next = await connection.ping()
    if (next.rttSeconds < best.rttSeconds) best = next
  }
  return best.clockOffsetSeconds
}
