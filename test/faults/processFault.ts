import { setTimeout as sleep } from 'node:timers/promises'
import { systemClock } from '../../src/core/clock.ts'
import { randomStream, type RandomStream } from '../../src/core/random.ts'
import { DEFAULT_BACKOFF } from '../../src/run/executor/backoff.ts'
import { DEFAULT_LIMITS } from '../../src/run/wire/limits.ts'
import { FRAME } from '../../src/run/wire/types.ts'
import { complete, get, type Asked, type Completion } from './client.ts'
import type { SeenFrame } from './frames.ts'
import { Gaps } from './gaps.ts'
import { PHASES, PROCESS_KINDS, type Outcome, type Phase, type ProcessKind } from './kinds.ts'
import { OUTAGE_SECONDS, type Pair, type ProcessWorld } from './processWorld.ts'
import type { Script } from './proxy.ts'
import { within } from './wait.ts'

/** Processes start anew within it. */
const HANG_SECONDS = 90
const DRAWS = 3

const PROMPTS = [
  'Once upon a time',
  'Tom had a red',
  'Lily and Ben went to the',
  'One day a little',
  'Note: ',
]

type Found = Pick<Outcome, 'documentedError' | 'recoverySeconds' | 'problems'> & {
  readonly texts: readonly string[]
  /** The moment of the fault did not come: on a busy machine an edge may take its cloud for absent. */
  readonly missed?: boolean
}

interface Case {
  readonly world: ProcessWorld
  readonly random: RandomStream
  readonly phase: Phase
  readonly asked: Asked
  /** What is to come out. */
  readonly expected: string
}

/** One fault of a process, at a moment that frames on the wire tell. */
export async function runProcessFault(
  world: ProcessWorld,
  seed: number,
  only?: ProcessKind,
): Promise<Outcome> {
  const random = randomStream(seed, 'process fault')
  const kind = only ?? PROCESS_KINDS[seed % PROCESS_KINDS.length]
  const phase = PHASES[Math.floor(seed / PROCESS_KINDS.length) % PHASES.length]
  const prompt = PROMPTS[random.integer(PROMPTS.length)]
  const asked = { prompt, maxTokens: 48, key: `fault-${seed}-${Math.floor(systemClock.nowSeconds() * 1000)}` }
  const expected = await world.told(asked)
  const it = { world, random, phase, expected }
  let found: Found | null = null
  for (let draw = 0; draw < DRAWS; draw++) {
    found = await within(HANG_SECONDS, RUN[kind]({ ...it, asked: { ...asked, key: `${asked.key}-${draw}` } }))
    const isRight = found?.texts.every((text) => text === expected) === true
    if (found?.missed !== true || found.problems.length > 0 || !isRight) break
  }
  world.look()
  const { documentedError = null, recoverySeconds = null, texts = [] } = found ?? {}
  const problems = [...(found?.problems ?? []), ...(found?.missed === true ? ['its moment never came'] : [])]
  // An error keeps what was generated: a beginning of the whole.
  const wrong = texts.filter((text) =>
    documentedError === null ? text !== expected : !expected.startsWith(text),
  )
  const moment = TIMELESS.includes(kind) ? 'any' : phase
  return {
    seed,
    kind,
    phase: moment,
    detail: prompt,
    documentedError,
    recoverySeconds,
    problems,
    leaks: null,
    wrongTokens: wrong.length,
    hang: found === null,
  }
}

/** They hold for a whole request, not for a moment of it. */
const TIMELESS: readonly ProcessKind[] = ['disk full', 'memory limit']

const RUN: Readonly<Record<ProcessKind, (it: Case) => Promise<Found>>> = {
  'kill the cloud': (it) => cloudDies(it),
  'stop the cloud briefly': (it) => cloudStops(it, 0.3 + 0.6 * it.random.uniform()),
  'stop the cloud for long': (it) => cloudStops(it, longStop(it.random)),
  'kill the edge': (it) => edgeDies(it),
  'end the edge': (it) => edgeEnds(it),
  'disk full': (it) => diskFull(it),
  'memory limit': (it) => memoryLimit(it),
}

/** Past what counts as an outage; one in four past the silence after which the wire gives a peer up, too. */
function longStop(random: RandomStream): number {
  return random.integer(4) === 0 ? DEFAULT_LIMITS.silenceSeconds + 2 : OUTAGE_SECONDS + 1 + random.uniform()
}

/** Calls `run` when the moment comes; at `resume`, when what was cut off is said again. */
function at({ phase, random }: Case, run: () => void): Script {
  const later = 6 + random.integer(20)
  const call = { kind: 'call', run } as const
  const data = (way: 'up' | 'down', from: number) => (frame: SeenFrame) =>
    frame.way === way && (frame.type === FRAME.tensor || frame.type === FRAME.ids) && frame.position >= from
  if (phase === 'prefill') return [{ when: ({ type }) => type === FRAME.open, act: call }]
  if (phase === 'decode') return [{ when: data('down', later), act: call }]
  if (phase === 'checkpoint') return [{ when: data('up', later), act: call }]
  let broken = -1
  const cut = (frame: SeenFrame): boolean => {
    const now = data('down', later)(frame)
    if (now) broken = frame.connection
    return now
  }
  return [
    { when: cut, act: { kind: 'reset', part: 0 } },
    { when: (frame) => frame.connection > broken && data('up', 0)(frame), act: call },
  ]
}

interface Told extends Completion {
  readonly recoverySeconds: number | null
  readonly missed: boolean
}

/** One completion during which the moment comes. */
async function during(it: Case, pair: Pair, fault: () => void): Promise<Told> {
  const gaps = new Gaps(() => systemClock.nowSeconds())
  pair.proxy.play(
    at(it, () => {
      gaps.fault()
      fault()
    }),
  )
  const told = await complete(pair.edge.port, it.asked, () => gaps.token(0))
  pair.proxy.play([])
  return { ...told, recoverySeconds: gaps.longest, missed: !gaps.hasFault }
}

/** An edge that went on alone comes back only after a while: the next fault is to find it connected. */
async function connected(pair: Pair, phase: Phase): Promise<void> {
  const isUp = async (): Promise<boolean> => {
    const metrics = await get(pair.edge.port, '/metrics')
    return metrics !== null && /^edgewise_link_up 1$/m.test(metrics.text)
  }
  while (!(await isUp())) await sleep(50)
  // A link that breaks soon after it came waits longer each time, and the edge goes on alone: there is no resuming.
  if (phase === 'resume') await sleep(1000 * DEFAULT_BACKOFF.capSeconds)
}

async function cloudDies(it: Case): Promise<Found> {
  const pair = it.world.mortalCloud
  await connected(pair, it.phase)
  let back: Promise<unknown> = Promise.resolve()
  const told = await during(it, pair, () => {
    pair.cloud.signal('SIGKILL')
    back = pair.startCloud().then((cloud) => (pair.cloud = cloud))
  })
  await back
  return plain(told)
}

async function cloudStops(it: Case, seconds: number): Promise<Found> {
  const pair = it.world.mortalCloud
  await connected(pair, it.phase)
  const { cloud } = pair
  let goes: Promise<unknown> = Promise.resolve()
  const told = await during(it, pair, () => {
    cloud.signal('SIGSTOP')
    goes = sleep(1000 * seconds).then(() => cloud.signal('SIGCONT'))
  })
  await goes
  return plain(told)
}

/** Killed, started again on its journal, asked again under the same key: the answer is the whole one. */
async function edgeDies(it: Case): Promise<Found> {
  const pair = it.world.mortalEdge
  await connected(pair, it.phase)
  const problems: string[] = []
  const first = await during(it, pair, () => pair.edge.signal('SIGKILL'))
  if (first.missed) return plain(first)
  if (first.error !== 'broken') problems.push(`killed, it ended with ${first.error ?? first.finish}`)
  const from = systemClock.nowSeconds()
  pair.edge = await pair.startEdge()
  const second = await complete(pair.edge.port, it.asked)
  const recoverySeconds = systemClock.nowSeconds() - from
  if (!it.expected.startsWith(first.text)) problems.push(`before the kill: ${JSON.stringify(first.text)}`)
  if (second.error !== null) problems.push(`after the restart: ${second.error}`)
  return { texts: [second.text], documentedError: null, recoverySeconds, problems }
}

/** SIGTERM: what is under way ends, and then the process. */
async function edgeEnds(it: Case): Promise<Found> {
  const pair = it.world.mortalEdge
  await connected(pair, it.phase)
  const { edge } = pair
  const told = await during(it, pair, () => edge.signal('SIGTERM'))
  if (told.missed) return plain(told)
  const code = await edge.exit(30)
  const problems =
    code === null ? ['it did not end within 30 s'] : code !== 130 ? [`it ended with ${code}`] : []
  if (code === null) edge.signal('SIGKILL')
  pair.edge = await pair.startEdge()
  const found = plain(told)
  return { ...found, problems: [...found.problems, ...problems] }
}

/** Files may grow to a few blocks: the next write fails as on a full disk (EFBIG in place of ENOSPC). */
const FILE_BYTES = 8192

async function diskFull(it: Case): Promise<Found> {
  const pair = it.world.mortalEdge
  pair.edge.signal('SIGKILL')
  await pair.edge.exit(10)
  pair.edge = await pair.startEdge([], ['prlimit', `--fsize=${FILE_BYTES}`])
  await connected(pair, it.phase)
  const texts: string[] = []
  const problems: string[] = []
  // The first ones fill what is left.
  for (let i = 0; i < 6; i++) {
    const { text, error } = await complete(pair.edge.port, { ...it.asked, key: `${it.asked.key!}-${i}` })
    texts.push(text)
    if (error !== null) problems.push(`request ${i}: ${error}`)
  }
  const metrics = (await get(pair.edge.port, '/metrics'))?.text ?? ''
  if (!/^edgewise_log_dropped_records [1-9]/m.test(metrics)) problems.push('no record was counted as dropped')
  if (!pair.edge.said().includes('serving goes on without'))
    problems.push('it did not say that it cannot write')
  pair.edge.signal('SIGKILL')
  await pair.edge.exit(10)
  pair.edge = await pair.startEdge()
  return { texts, documentedError: null, recoverySeconds: null, problems }
}

/** Room for no request at all (a documented error, or the edge alone), or for one of three at a time. */
async function memoryLimit(it: Case): Promise<Found> {
  const pair = it.world.mortalCloud
  await connected(pair, it.phase)
  const none = it.random.integer(2) === 0
  const before = pair.cloud
  pair.cloud = await pair.startCloud(['--session-mb', none ? '0.001' : '0.9'])
  before.signal('SIGKILL')
  await before.exit(10)
  const count = none ? 1 : 3
  const asks = Array.from({ length: count }, (_, i) => ({ ...it.asked, key: `${it.asked.key!}-${i}` }))
  const all = await Promise.all(asks.map((asked) => complete(pair.edge.port, asked)))
  const small = pair.cloud
  pair.cloud = await pair.startCloud()
  small.signal('SIGKILL')
  await small.exit(10)
  const errors = all.flatMap(({ error }) => (error === null ? [] : [error]))
  const problems = errors.filter((error) => !isDocumented(error) || !none)
  const documentedError = problems.length > 0 ? null : (errors[0] ?? null)
  return { texts: all.map(({ text }) => text), documentedError, recoverySeconds: null, problems }
}

function plain({ text, error, recoverySeconds, missed }: Told): Found {
  const problems = error === null ? [] : [`ended with ${error}`]
  return { texts: [text], documentedError: null, recoverySeconds, problems, missed }
}

/** docs/api.md: what a client hears of a cloud that has no room. */
function isDocumented(error: string): boolean {
  return ['unavailable', 'service_unavailable', 'E_UNAVAILABLE'].includes(error)
}
