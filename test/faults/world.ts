import { systemClock } from '../../src/core/clock.ts'
import { randomStream } from '../../src/core/random.ts'
import type { Engine } from '../../src/core/engine/types.ts'
import { CLOUD_DEFAULTS, CloudExecutor } from '../../src/run/executor/cloud.ts'
import { CloudLink } from '../../src/run/executor/cloudLink.ts'
import { fixedLink } from '../../src/run/executor/link.ts'
import { EdgeExecutor } from '../../src/run/executor/edge.ts'
import { CloudMemoryBudget } from '../../src/run/executor/memoryBudget.ts'
import type { PlanSwitch, RecoveryEvent } from '../../src/run/executor/recoveryTypes.ts'
import type { SubgraphRunner } from '../../src/run/executor/subgraphRunner.ts'
import type { GenerationRequest } from '../../src/run/executor/types.ts'
import type { ModelSpec } from '../../src/model/spec.ts'
import { connect } from '../../src/run/wire/client.ts'
import { listen } from '../../src/run/wire/server.ts'
import { systemTimers } from '../../src/core/timers.ts'
import type { WireLimits } from '../../src/run/wire/types.ts'
import { openSide } from '../run/executor/support.ts'
import { gpt2Like, randomSource } from '../model/support.ts'
import type { Ask } from './draw.ts'
import { planNamed } from './plans.ts'
import { startProxy, type Proxy } from './proxy.ts'

/** Small enough for thousands of answers, with layers enough for cuts and exits. */
export const MODEL: ModelSpec = { ...gpt2Like, id: 'small-faults', layers: 4 }

/** A second of silence would make a thousand faults take an hour. */
export const LIMITS: Partial<WireLimits> = {
  greetingSeconds: 1,
  closingSeconds: 0.2,
  heartbeatSeconds: 0.05,
  silenceSeconds: 0.3,
  maxPayloadBytes: 2 ** 20,
  maxHandshakesPerMinute: 1e6,
}
export const SILENCE_SECONDS = 0.3
export const BUDGET_BYTES = 64 * 2 ** 20
export const BACKOFF = { baseSeconds: 0.005, factor: 2, capSeconds: 0.1, jitter: 0.5 }

/** Both sides in one process, over real sockets and a proxy between them. */
export interface World {
  readonly edge: EdgeExecutor
  readonly edgeRunner: SubgraphRunner
  readonly link: CloudLink
  readonly proxy: Proxy
  readonly cloudPort: number
  readonly budget: CloudMemoryBudget
  readonly peers: ReadonlySet<CloudExecutor>
  readonly events: RecoveryEvent[]
  /** The tokens of the run without any fault, with these switches. */
  told(ask: Ask, schedule?: readonly PlanSwitch[]): Promise<readonly number[]>
  /** What is still held that belongs to requests; empty where all is well. */
  held(): string[]
  close(): Promise<void>
}

export function requestOf({ plan, prompt, maxNewTokens, sampling }: Ask): GenerationRequest {
  return { prompt, maxNewTokens, sampling, stopIds: [], ...planNamed(plan, MODEL) }
}

export async function openWorld(seed: number): Promise<World> {
  const clock = systemClock
  const source = randomSource(MODEL, 11)
  const [edgeSide, cloudSide] = [await openSide(source), await openSide(source)]
  const residents = [edgeSide, cloudSide].map(({ engine }) => countResidents(engine))
  const budget = new CloudMemoryBudget(BUDGET_BYTES)
  const peers = new Set<CloudExecutor>()
  const server = await listen({
    host: '127.0.0.1',
    port: 0,
    clock,
    limits: LIMITS,
    greet: () => ({ welcome: {} }),
    onConnection: (connection) => {
      const { runner } = cloudSide
      const peer = new CloudExecutor(connection, { model: MODEL, runner, clock, budget, ...CLOUD_DEFAULTS })
      peers.add(peer)
      connection.onClose(() => peers.delete(peer))
    },
  })
  const proxy = await startProxy(() => server.port, systemTimers)
  const dial = (port: number, signal?: AbortSignal) =>
    connect({ host: '127.0.0.1', port, greeting: {}, clock, limits: LIMITS, ...(signal && { signal }) })
  const link = new CloudLink({
    clock,
    timers: systemTimers,
    backoff: BACKOFF,
    random: randomStream(seed, 'backoff'),
    dial: (signal) => dial(proxy.port, signal),
  })
  const parts = { model: MODEL, runner: edgeSide.runner, clock, timers: systemTimers, maxInFlight: 8 }
  const edge = new EdgeExecutor({ ...parts, link })
  const direct = await dial(server.port)
  const calm = new EdgeExecutor({ ...parts, link: fixedLink(direct) })
  const events: RecoveryEvent[] = []
  link.onEvent((event) => events.push(event))
  edge.onEvent((event) => events.push(event))
  link.start()
  await link.opened()
  const known = new Map<string, readonly number[]>()
  return {
    edge,
    link,
    proxy,
    budget,
    peers,
    events,
    edgeRunner: edgeSide.runner,
    cloudPort: server.port,
    told: async (ask, schedule = []) => {
      const key = JSON.stringify([ask, schedule])
      const before = known.get(key)
      if (before !== undefined) return before
      const { tokens } = await calm.generate(requestOf(ask), { planSwitches: schedule })
      const ids = tokens.map(({ id }) => id)
      known.set(key, ids)
      return ids
    },
    held: () => {
      const active = [...peers].reduce((sum, peer) => sum + peer.active, 0)
      const all = {
        'requests at the cloud': active,
        'bytes of the session budget': budget.usedBytes,
        'kept bytes': edge.retransmitBytes,
        'requests at the edge': edge.inFlight + edge.waiting,
        'K/V tensors of the edge': residents[0].live(),
        'K/V tensors of the cloud': residents[1].live(),
      }
      return Object.entries(all).flatMap(([name, n]) => (n === 0 ? [] : [`${n} ${name}`]))
    },
    close: async () => {
      await link.close()
      await direct.close()
      await proxy.close()
      await server.close()
      await edgeSide.close()
      await cloudSide.close()
    },
  }
}

/** Those that a runner keeps for first passes have room for one token; they stay. */
function countResidents(engine: Engine): { live: () => number } {
  let live = 0
  const allocate = engine.allocate.bind(engine)
  engine.allocate = async (dims) => {
    const resident = await allocate(dims)
    if (dims[1] === 1) return resident
    live++
    const dispose = resident.dispose.bind(resident)
    let isGone = false
    resident.dispose = () => {
      if (!isGone) live--
      isGone = true
      return dispose()
    }
    return resident
  }
  return { live: () => live }
}
