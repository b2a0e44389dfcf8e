import { randomStream, type RandomStream } from '../../src/core/random.ts'
import type { SamplingParams } from '../../src/run/executor/types.ts'
import { FRAME, FRAME_HEADER_BYTES } from '../../src/run/wire/types.ts'
import type { SeenFrame, Way } from './frames.ts'
import { PHASES, WIRE_KINDS, type Phase, type WireKind } from './kinds.ts'
import { PLAN_NAMES, type PlanName } from './plans.ts'
import type { Action, Script } from './proxy.ts'

/** What the edge does about a cloud that is away: nothing, go on alone, or go on alone and come back. */
export const REACTIONS = ['wait', 'alone', 'alone and back'] as const
export type Reaction = (typeof REACTIONS)[number]

export interface Ask {
  readonly prompt: readonly number[]
  readonly maxNewTokens: number
  readonly sampling: SamplingParams
  readonly plan: PlanName
}

/** One fault on the wire, and the requests that are under way. All of it follows from the seed. */
export interface WireFault {
  readonly seed: number
  readonly kind: WireKind
  readonly phase: Phase
  readonly reaction: Reaction
  /** The first has the plan that the moment is of. */
  readonly asks: readonly Ask[]
  readonly script: Script
  readonly detail: string
}

export interface DrawOptions {
  readonly vocabulary: number
  /** Limits of the link under test: stalls are drawn on either side of it. */
  readonly silenceSeconds: number
  readonly kind?: WireKind
  readonly phase?: Phase
}

/** Another prompt for each request would compute the references anew: they come from a small stock. */
const PROMPTS = 6

/** `salt`: another draw of the same kind and phase, where the first never came about. */
export function drawWireFault(seed: number, options: DrawOptions, salt = 0): WireFault {
  const random = randomStream(seed, `wire fault ${salt}`)
  const kind = options.kind ?? WIRE_KINDS[seed % WIRE_KINDS.length]
  const phase = options.phase ?? PHASES[Math.floor(seed / WIRE_KINDS.length) % PHASES.length]
  const reaction = REACTIONS[random.integer(REACTIONS.length)]
  const count = 1 + random.integer(3)
  const asks = Array.from({ length: count }, () => drawAsk(random, options.vocabulary))
  const way = wayOf(random, phase)
  const action = drawAction(random, kind, options.silenceSeconds)
  const script = scriptOf(random, phase, way, asks[0], action)
  const detail = `${asks.map(({ plan }) => plan).join(' + ')}, ${way}, ${reaction}`
  return { seed, kind, phase, reaction, asks, script, detail }
}

export function drawAsk(random: RandomStream, vocabulary: number): Ask {
  const stock = randomStream(random.integer(PROMPTS), 'prompt')
  const prompt = Array.from({ length: 3 + stock.integer(12) }, () => stock.integer(vocabulary))
  const sampled = random.integer(3) === 0
  return {
    prompt,
    maxNewTokens: 16,
    sampling: { temperature: sampled ? 0.8 : 0, topK: 0, topP: 1, seed: sampled ? 7 : 0 },
    plan: PLAN_NAMES[random.integer(PLAN_NAMES.length)],
  }
}

function wayOf(random: RandomStream, phase: Phase): Way {
  if (phase === 'checkpoint') return 'up'
  return random.integer(2) === 0 ? 'up' : 'down'
}

function drawAction(random: RandomStream, kind: WireKind, silenceSeconds: number): Action {
  const part = [0, random.uniform(), 1][random.integer(3)]
  const bit = random.integer(8)
  switch (kind) {
    case 'reset':
    case 'end':
    case 'half-open':
      return { kind, part }
    case 'short stall':
      return { kind: 'stall', part, seconds: silenceSeconds * (0.1 + 0.5 * random.uniform()) }
    case 'long stall':
      return { kind: 'stall', part, seconds: silenceSeconds * (1.3 + random.uniform()) }
    case 'one byte at a time':
      return { kind: 'drip', manner: 'singly', bytes: 1000 + random.integer(3000) }
    case 'crawl':
      return { kind: 'drip', manner: { bytesPerSecond: 2000 + random.integer(8000) }, bytes: 2000 }
    case 'duplicate':
    case 'drop':
    case 'reorder':
      return { kind }
    case 'flip in a header':
      return { kind: 'flip', part: 'header', at: random.integer(FRAME_HEADER_BYTES - 4), bit }
    case 'flip in a checksum':
      return { kind: 'flip', part: 'header', at: FRAME_HEADER_BYTES - 4 + random.integer(4), bit }
    case 'flip in a payload':
      return { kind: 'flip', part: 'payload', at: random.integer(4096), bit }
    case 'truncate':
      return { kind: 'truncate', part }
  }
}

type Test = (frame: SeenFrame) => boolean

function scriptOf(random: RandomStream, phase: Phase, way: Way, ask: Ask, act: Action): Script {
  const prompt = ask.prompt.length
  const after = prompt + random.integer(ask.maxNewTokens - 5)
  const answer = way === 'down'
  switch (phase) {
    case 'prefill':
      return [{ when: nth(random.integer(2), prefill(way, prompt)), act }]
    case 'decode':
      return [{ when: (frame) => answerOrAsk(frame, way) && frame.position > after, act }]
    case 'checkpoint':
      return [{ when: (frame) => carries(frame, 'up') && frame.position > keptAfter(ask, after), act }]
    case 'resume': {
      const first: Action = { kind: 'reset', part: 0 }
      let broken = -1
      const cut = (frame: SeenFrame): boolean => {
        const now = answerOrAsk(frame, 'down') && frame.position > after
        if (now) broken = frame.connection
        return now
      }
      const again = nth(random.integer(3), (frame) => frame.connection > broken && said(frame, answer))
      return [
        { when: cut, act: first },
        { when: again, act },
      ]
    }
  }
}

/** True from the (n + 1)th frame on for which `test` is. */
function nth(n: number, test: Test): Test {
  let left = n
  return (frame) => test(frame) && left-- <= 0
}

const isData = ({ type }: SeenFrame): boolean => type === FRAME.tensor || type === FRAME.ids

function carries(frame: SeenFrame, way: Way): boolean {
  return frame.way === way && isData(frame)
}

function prefill(way: Way, prompt: number): Test {
  if (way === 'down') return (frame) => carries(frame, 'down') && frame.position <= prompt
  const opens = ({ type }: SeenFrame): boolean => type === FRAME.plan || type === FRAME.open
  return (frame) => frame.way === 'up' && (opens(frame) || (isData(frame) && frame.position === 0))
}

/** In plans that send nothing up for a token the answers are what comes. */
function answerOrAsk(frame: SeenFrame, way: Way): boolean {
  return carries(frame, way) || (way === 'up' && carries(frame, 'down'))
}

/** Where all lies in the cloud, the ids of the prompt are what is kept. */
function keptAfter({ plan }: Ask, after: number): number {
  return plan === 'cloud' ? -1 : after
}

/** Whatever begins a request again, or is answered then. */
function said(frame: SeenFrame, answers: boolean): boolean {
  if (answers) return carries(frame, 'down')
  const opens = frame.type === FRAME.plan || frame.type === FRAME.open
  return frame.way === 'up' && (opens || isData(frame))
}
