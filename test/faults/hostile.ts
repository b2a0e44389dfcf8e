import { createServer, type AddressInfo } from 'node:net'
import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import { Deadline } from '../../src/core/deadline.ts'
import { EdgewiseError } from '../../src/core/errors.ts'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import { CloudLink } from '../../src/run/executor/cloudLink.ts'
import { EdgeExecutor } from '../../src/run/executor/edge.ts'
import { connect } from '../../src/run/wire/client.ts'
import { jsonFrame } from '../../src/run/wire/payloads.ts'
import { systemTimers } from '../../src/core/timers.ts'
import { FRAME } from '../../src/run/wire/types.ts'
import { BackendError } from '../../src/serve/http/types.ts'
import { attackCloud, attackEdge, RawPeer } from './attacks.ts'
import { drawAsk } from './draw.ts'
import { HOSTILE_KINDS, type HostileKind, type Outcome } from './kinds.ts'
import { alonePlan } from './plans.ts'
import { leaksOf, within } from './wait.ts'
import { differing } from './wireFault.ts'
import { BACKOFF, BUDGET_BYTES, LIMITS, MODEL, requestOf, type World } from './world.ts'

/** Past this a peer that breaks the rules should be gone, and whoever waits for it should know. */
const BOUND_SECONDS = 10
/** What a peer that is there and says nothing useful is waited for. */
const PATIENCE = { recovery: { waitSeconds: 0.5 }, deadlineSeconds: 1 } as const

type Found = Pick<
  Outcome,
  'wrongTokens' | 'documentedError' | 'hang' | 'leaks' | 'problems' | 'recoverySeconds'
>

/** One peer that means harm, against the cloud (every other six) or against an edge of its own. */
export async function runHostile(world: World, seed: number, only?: HostileKind): Promise<Outcome> {
  const random = randomStream(seed, 'hostile')
  const kind = only ?? HOSTILE_KINDS[seed % HOSTILE_KINDS.length]
  const againstCloud = Math.floor(seed / HOSTILE_KINDS.length) % 2 === 0
  const found = await (againstCloud
    ? againstTheCloud(world, kind, random)
    : againstAnEdge(world, kind, random))
  return { seed, kind, phase: 'any', detail: againstCloud ? 'against a cloud' : 'against an edge', ...found }
}

/** An honest edge is served meanwhile. */
async function againstTheCloud(world: World, kind: HostileKind, random: RandomStream): Promise<Found> {
  const problems: string[] = []
  await world.link.opened(AbortSignal.timeout(1000 * BOUND_SECONDS))
  const asks = Array.from({ length: 3 }, () => drawAsk(random, MODEL.vocabulary))
  const handles = asks.map((ask) => world.edge.start(requestOf(ask)))
  const peer = await RawPeer.connect(world.cloudPort)
  let largest = 0
  const look = setInterval(() => (largest = Math.max(largest, world.budget.usedBytes)), 1)
  const attack = attackCloud(kind, peer, random)
  const results = await within(BOUND_SECONDS, Promise.all([...handles.map(({ result }) => result), attack]))
  clearInterval(look)
  if (largest > BUDGET_BYTES) problems.push(`${largest} bytes held, the bound is ${BUDGET_BYTES}`)
  // What it opened itself may be answered; nobody else's tensors and tokens come to it.
  const data = peer.heard.filter(({ type }) => type === FRAME.tensor || type === FRAME.ids)
  if (data.length > 0) problems.push(`${data.length} tensors or tokens came to a stranger`)
  if (kind === 'slow greeting' && !peer.isGone) problems.push('a greeting of a minute was waited for')
  peer.leave()
  const hang = results === null
  let wrongTokens = 0
  for (const [i, { tokens }] of handles.entries()) {
    const expected = await world.told(asks[i])
    const ids = tokens.map(({ id }) => id)
    wrongTokens += differing(ids, expected, { isWhole: !hang })
  }
  const leaks = await leaksOf(world)
  return { wrongTokens, hang, leaks, problems, documentedError: null, recoverySeconds: null }
}

/** What it may end with: the peer's fault, its absence, the deadline, or what is wrong with what came. */
const DOCUMENTED = [
  'E_NO_CLOUD',
  'E_PEER_FAILED',
  'E_UNEXPECTED_FRAME',
  'E_DEADLINE',
  'E_INPUT',
  'E_WIRE_PAYLOAD',
]

async function againstAnEdge(world: World, kind: HostileKind, random: RandomStream): Promise<Found> {
  const server = createServer((socket) => {
    const peer = new RawPeer(socket)
    if (kind !== 'slow greeting') peer.say(jsonFrame(FRAME.welcome, {}))
    socket.on('data', () => attackEdge(kind, peer, random))
  })
  await new Promise<void>((resolve) => server.listen({ host: '127.0.0.1', port: 0 }, resolve))
  const { port } = server.address() as AddressInfo
  const parts = { clock: systemClock, timers: systemTimers }
  const link = new CloudLink({
    ...parts,
    backoff: BACKOFF,
    random,
    dial: (signal) =>
      connect({ host: '127.0.0.1', port, greeting: {}, clock: systemClock, limits: LIMITS, signal }),
  })
  const edge = new EdgeExecutor({ ...parts, model: MODEL, runner: world.edgeRunner, link, maxInFlight: 4 })
  link.start()
  const problems: string[] = []
  const from = systemClock.nowSeconds()
  const ask = { ...drawAsk(random, MODEL.vocabulary), plan: 'cut' } as const
  const late = new AbortController()
  const deadline = new Deadline(PATIENCE.deadlineSeconds, from, parts, () =>
    late.abort(new BackendError('E_DEADLINE', 'the peer took too long')),
  )
  const options = { recovery: PATIENCE.recovery, signal: late.signal }
  const lied = edge.start(requestOf(ask), options).result.then(
    () => 'E_NONE',
    (error: unknown) => (error instanceof EdgewiseError ? error.code : `a defect: ${String(error)}`),
  )
  const code = await within(BOUND_SECONDS, lied)
  deadline.stop()
  const recoverySeconds = systemClock.nowSeconds() - from
  // A cloud that lies well is believed: tokens are as good as who computes them.
  if (code !== null && code !== 'E_NONE' && !DOCUMENTED.includes(code)) problems.push(`ended with ${code}`)
  const { tokens } = await edge.generate({ ...requestOf(ask), ...alonePlan(MODEL) })
  const expected = await world.told(ask)
  const ids = tokens.map(({ id }) => id)
  const wrongTokens = differing(ids, expected, { isWhole: true })
  await link.close()
  await new Promise((resolve) => server.close(resolve))
  await sleep(1)
  const leaks = edge.retransmitBytes > 0 ? [`${edge.retransmitBytes} kept bytes`] : []
  leaks.push(...(await leaksOf(world)))
  const documentedError = code === null || code === 'E_NONE' ? null : code
  return { wrongTokens, documentedError, hang: code === null, leaks, problems, recoverySeconds }
}
