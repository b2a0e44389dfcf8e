import { aboveExit, belowExit } from '../../run/executor/earlyExit.ts'
import { lowerPlan, subgraphLabel, type LoweredPlan } from '../../run/executor/loweredPlan.ts'
import type { ExecutionEvent, GenerationRequest } from '../../run/executor/types.ts'
import type { Subgraph } from '../../model/graphs/subgraphTypes.ts'
import { attentionUnits, type ModelSpec } from '../../model/spec.ts'

/** A side that works, or a direction in which something travels. */
export type Track = 'edge' | 'up' | 'cloud' | 'down'

/** Something that took time: a compute, a load, or a message from its sender's send to its receiver's receipt. */
export interface Activity {
  readonly lane: Track
  readonly kind: 'work' | 'transfer' | 'load'
  /** 0 is the prefill, n the decode of the n-th token after the first. */
  readonly pass: number
  readonly label: string
  /** Rows computed or carried. */
  readonly tokens: number
  /** Bits an element of a tensor that travels; null for anything else. */
  readonly bits: number | null
  readonly bytes: number
  readonly batch: number
  readonly fromSeconds: number
  readonly toSeconds: number
}

type Explained = Pick<GenerationRequest, 'prompt' | 'plan' | 'cloudUnits'>

/** What a request's events say, in order of their beginning. Times are the events'. */
export function activitiesOf(
  model: ModelSpec,
  request: Explained,
  events: readonly ExecutionEvent[],
): Activity[] {
  const steps = describer(model, request)
  const receipts = new Map(
    events.filter(({ kind }) => kind === 'receive').map((event) => [messageKey(event), event]),
  )
  const activities = events.flatMap((event): Activity[] => {
    if (event.kind === 'receive') return []
    const { label, isToken, bits } = steps(event)
    const { tokens, bytes, batch, startSeconds: fromSeconds } = event
    const pass = passOf(event, request.prompt.length, isToken)
    const common = { pass, label, tokens, bytes, batch, fromSeconds }
    if (event.kind !== 'send') {
      const kind = event.kind === 'load' ? 'load' : 'work'
      return [{ ...common, lane: event.side, kind, bits: null, toSeconds: event.endSeconds }]
    }
    // A message whose request ended before it came has no receipt.
    const arrival = receipts.get(messageKey(event))?.endSeconds ?? event.endSeconds
    const lane = event.side === 'edge' ? 'up' : 'down'
    // The clocks' offset is known to half an RTT's asymmetry: no message arrives before it was sent.
    return [{ ...common, lane, kind: 'transfer', bits, toSeconds: Math.max(fromSeconds, arrival) }]
  })
  return activities.sort((a, b) => a.fromSeconds - b.fromSeconds)
}

/** A message is told by the direction, the step and the position; both sides know them. */
function messageKey({ side, kind, step, position }: ExecutionEvent): string {
  const from = kind === 'send' ? side : side === 'edge' ? 'cloud' : 'edge'
  return `${from} ${step} ${position}`
}

/**
 * The pass of an event. Its last row tells it: prefill ends with the prompt's last, every further pass has one row of
 * its own; a backlog belongs to the pass that asked for it. A token has the position after its pass's rows.
 */
function passOf({ position, tokens }: ExecutionEvent, promptTokens: number, isToken: boolean): number {
  const last = isToken ? position - 1 : position + tokens - 1
  return Math.max(0, last - promptTokens + 1)
}

interface Described {
  readonly label: string
  readonly isToken: boolean
  readonly bits: number | null
}

function describer(
  model: ModelSpec,
  { prompt, plan, cloudUnits }: Explained,
): (event: ExecutionEvent) => Described {
  const bits = plan.boundaryBits
  const computed = (segment: Subgraph): Described => ({
    label: labelOf(model, segment),
    isToken: false,
    bits: null,
  })
  if (plan.exit !== null) {
    const below = computed(belowExit(model, plan.exit))
    const above = computed(aboveExit(model, plan.exit))
    return ({ kind, step }) => {
      if (kind !== 'send') return step === 0 ? below : above
      return step === 0 ? { label: 'x', isToken: false, bits } : { label: 'token', isToken: true, bits: null }
    }
  }
  const schedule = lowerPlan(model, plan, cloudUnits)
  return (event) => {
    const step = stepOf(schedule, event, prompt.length)
    if (step.kind === 'compute') return computed(step.segment)
    return { label: step.carries, isToken: step.carries === 'token', bits: step.bits }
  }
}

/** The prefill's token has the position of the first decode pass, but a step that only the prefill has it at. */
function stepOf(
  { prefill, decode }: LoweredPlan,
  { step, position }: ExecutionEvent,
  promptTokens: number,
): LoweredPlan['prefill'][number] {
  if (position < promptTokens) return prefill[step]
  const there = decode.at(step)
  const inPrefill = prefill.at(step)
  const isFirstToken =
    position === promptTokens && inPrefill?.kind === 'send' && inPrefill.carries === 'token'
  return isFirstToken || there === undefined ? prefill[step] : there
}

/** The segment in words; where it has some heads of its layers only, how many. */
function labelOf(model: ModelSpec, segment: Subgraph): string {
  const units = attentionUnits(model)
  const shares = segment.parts.flatMap((part) =>
    part.kind === 'attention' && part.units.length > 0 && part.units.length < units
      ? [(part.units.length * model.heads) / units]
      : [],
  )
  const label = subgraphLabel(segment)
  if (shares.length === 0) return label
  const [least, most] = [Math.min(...shares), Math.max(...shares)]
  const heads = least === most ? String(least) : `${least}-${most}`
  return `${label} (${heads} of ${model.heads} heads)`
}
