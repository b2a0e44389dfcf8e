import {
  lowerPlan,
  subgraphLabel,
  type LoweredPass,
  type LoweredPlan,
  type RunStep,
  type SendStep,
} from '../../plan/lower.ts'
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
  const lowered = lowerPlan(model, plan, cloudUnits)
  return (event) => {
    const step = stepOf(lowered, event, prompt.length)
    if (step === null) throw new RangeError(`step ${event.step}: expected one of the plan, found none`)
    if (step.kind === 'run') return { label: labelOf(model, step.subgraph), isToken: false, bits: null }
    return { label: step.carries, isToken: step.carries === 'token', bits: step.bits }
  }
}

/** The step of an event. The prompt's token has the position of the first decode pass, but its step only in the prefill. */
function stepOf(
  { prefill, decode, ask }: LoweredPlan,
  event: ExecutionEvent,
  promptTokens: number,
): RunStep | SendStep | null {
  const inPrefill = stepIn(prefill, event)
  const further = stepIn(decode, event) ?? (ask === null ? null : stepIn(ask, event))
  if (event.position < promptTokens) return inPrefill ?? further
  const isFirstToken =
    event.position === promptTokens && inPrefill?.kind === 'send' && inPrefill.carries === 'token'
  return isFirstToken ? inPrefill : (further ?? inPrefill)
}

/** The step of a pass with the event's number; an exit's run and message share one. */
function stepIn({ steps }: LoweredPass, { step: number, kind }: ExecutionEvent): RunStep | SendStep | null {
  for (const step of steps) {
    if (step.kind === 'sample' || step.number !== number) continue
    if ((step.kind === 'send') === (kind === 'send')) return step
  }
  return null
}

/** The subgraph in words; where it has some heads of its layers only, how many. */
function labelOf(model: ModelSpec, subgraph: Subgraph): string {
  const units = attentionUnits(model)
  const shares = subgraph.parts.flatMap((part) =>
    part.kind === 'attention' && part.units.length > 0 && part.units.length < units
      ? [(part.units.length * model.heads) / units]
      : [],
  )
  const label = subgraphLabel(subgraph)
  if (shares.length === 0) return label
  const [least, most] = [Math.min(...shares), Math.max(...shares)]
  const heads = least === most ? String(least) : `${least}-${most}`
  return `${label} (${heads} of ${model.heads} heads)`
}
