import { systemClock, type Clock } from '../../../src/core/clock.ts'
import { randomStream } from '../../../src/core/random.ts'
import { CloudMemoryBudget } from '../../../src/run/executor/memoryBudget.ts'
import { CLOUD_DEFAULTS, CloudExecutor, type CloudOptions } from '../../../src/run/executor/cloud.ts'
import { CloudLink } from '../../../src/run/executor/cloudLink.ts'
import { EdgeExecutor } from '../../../src/run/executor/edge.ts'
import type { Execution } from '../../../src/run/executor/open.ts'
import type { Backoff, RecoveryEvent } from '../../../src/run/executor/recoveryTypes.ts'
import type { WeightSource } from '../../../src/model/graphs/source.ts'
import { ForwardedConnection } from '../../../src/run/wire/forwarded.ts'
import { memoryPair, type MemoryPair } from '../wire/memory.ts'
import { systemTimers, type Timers } from '../../../src/core/timers.ts'
import type { Connection, Frame } from '../../../src/run/wire/types.ts'
import { openSide } from './support.ts'

/** Tells of each frame as it comes or goes; may cut what carries it. */
class WatchedConnection extends ForwardedConnection {
  private readonly passed: (frame: Frame, up: boolean) => void

  constructor(inner: Connection, passed: (frame: Frame, up: boolean) => void) {
    super(inner)
    this.passed = passed
  }

  override send(...frames: readonly Frame[]): void {
    super.send(...frames)
    for (const frame of frames) this.passed(frame, true)
  }

  override onFrame(listener: (frame: Frame) => void): void {
    super.onFrame((frame) => {
      this.passed(frame, false)
      listener(frame)
    })
  }
}

export interface LinkedOptions {
  readonly clock?: Clock
  readonly timers?: Timers
  readonly backoff?: Backoff
  readonly maxInFlight?: number
  readonly maxKeptBytes?: number
  readonly cloud?: Partial<CloudOptions>
}

export interface Linked {
  readonly edge: EdgeExecutor
  readonly link: CloudLink
  readonly budget: CloudMemoryBudget
  readonly edgeSide: Execution
  readonly cloudSide: Execution
  readonly events: RecoveryEvent[]
  /** Of all connections so far. */
  readonly peers: CloudExecutor[]
  /** Frames of requests that the edge sent. */
  readonly sent: Frame[]
  /** The present pair. */
  pair(): MemoryPair
  cut(): void
  /** Cuts the connection after each of so many further frames, up or down. */
  cutAfter(frames: readonly number[]): void
  /** Whether dialling succeeds. */
  reachable: boolean
  /** Looks at, and may change, what the cloud says. */
  twist: ((frame: Frame) => Frame) | null
  close(): Promise<void>
}

const QUICK: Backoff = { baseSeconds: 0.001, factor: 2, capSeconds: 0.004, jitter: 0.5 }

/** An edge with a link that comes back, and a cloud whose connections share one budget. */
export async function openLinked(source: WeightSource, options: LinkedOptions = {}): Promise<Linked> {
  const { model } = source
  const { clock = systemClock, timers = systemTimers, backoff = QUICK } = options
  const [edgeSide, cloudSide] = [await openSide(source), await openSide(source)]
  const budget = new CloudMemoryBudget()
  const events: RecoveryEvent[] = []
  const [peers, sent]: [CloudExecutor[], Frame[]] = [[], []]
  let cuts: number[] = []
  let pair: MemoryPair
  const dial = async (): Promise<Connection> => {
    if (!linked.reachable) throw new Error('nobody there')
    const dialled = await memoryPair({ clock })
    pair = dialled
    const said = new TwistedConnection(dialled.server, (frame) => linked.twist?.(frame) ?? frame)
    const { runner } = cloudSide
    peers.push(
      new CloudExecutor(said, { model, runner, clock, timers, budget, ...CLOUD_DEFAULTS, ...options.cloud }),
    )
    return new WatchedConnection(dialled.client, (frame, up) => {
      if (up) sent.push(frame)
      if (cuts.length === 0) return
      cuts[0]--
      if (cuts[0] > 0) return
      cuts.shift()
      dialled.cut()
    })
  }
  const link = new CloudLink({ dial, clock, timers, backoff, random: randomStream(1, 'link') })
  const edge = new EdgeExecutor({
    model,
    runner: edgeSide.runner,
    clock,
    timers,
    link,
    maxInFlight: options.maxInFlight ?? 4,
    ...(options.maxKeptBytes === undefined ? {} : { maxKeptBytes: options.maxKeptBytes }),
    onEvent: (event) => events.push(event),
  })
  link.onEvent((event) => events.push(event))
  const linked: Linked = {
    edge,
    link,
    budget,
    edgeSide,
    cloudSide,
    events,
    peers,
    sent,
    reachable: true,
    twist: null,
    pair: () => pair,
    cut: () => pair.cut(),
    cutAfter: (frames) => (cuts = [...frames]),
    close: async () => {
      await link.close()
      await edgeSide.close()
      await cloudSide.close()
    },
  }
  link.start()
  await link.opened()
  return linked
}

class TwistedConnection extends ForwardedConnection {
  private readonly twist: (frame: Frame) => Frame

  constructor(inner: Connection, twist: (frame: Frame) => Frame) {
    super(inner)
    this.twist = twist
  }

  override send(...frames: readonly Frame[]): void {
    super.send(...frames.map((frame) => this.twist(frame)))
  }
}
