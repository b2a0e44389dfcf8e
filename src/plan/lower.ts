import type { Subgraph, SubgraphPart } from '../model/graphs/subgraphTypes.ts'
import { attentionUnits, type ModelSpec } from '../model/spec.ts'
import {
  bitsOfLayer,
  CLOUD,
  EDGE,
  needsCloud,
  sideAfterFfn,
  sideOfFfnInput,
  sideOfLayer,
  type BoundaryBits,
  type EarlyExit,
  type Plan,
  type Side,
} from './plan.ts'

/**
 * One step of a pass. The list of a pass is what both sides do together, in an order in which each can do its part;
 * `sideSteps` gives one side's steps. The cost model prices the same list (`compileProgram`), so what is priced is what
 * is executed.
 */
type ExecutionStep = RunStep | SendStep | SampleStep

/** One run of one session: all blocks that a side computes between two messages. */
export interface RunStep {
  readonly kind: 'run'
  readonly side: Side
  readonly subgraph: Subgraph
  /** Indices of steps in the same pass that must be complete before. */
  readonly after: readonly number[]
  /** Number of the step in frames and execution events: runs and messages of a pass are counted from 0. */
  readonly number: number
}

/**
 * A message from one side to the other. `ids`: the tokens of this pass. `token`: the one just sampled, for the user.
 * All others are boundary tensors; with `lastRow` only the last position's row is sent.
 */
export interface SendStep {
  readonly kind: 'send'
  readonly from: Side
  readonly carries: 'ids' | 'token' | 'x' | 'partial' | 'x+hidden'
  readonly lastRow: boolean
  /** Bits per element of a boundary tensor; null for ids and tokens. */
  readonly bits: BoundaryBits | null
  readonly after: readonly number[]
  readonly number: number
}

/** Draws a token from the logits of the previous run. It is priced with that run and takes no time of its own. */
interface SampleStep {
  readonly kind: 'sample'
  readonly side: Side
  readonly after: readonly number[]
}

/** A message from the other side, as a step of the side that waits for it. */
interface ReceiveStep {
  readonly kind: 'receive'
  readonly message: SendStep
}

/** What one side does in a pass. */
export type SideStep = ExecutionStep | ReceiveStep

/** One pass through the model: the prompt's, or that of one token. */
export interface LoweredPass {
  readonly steps: readonly ExecutionStep[]
  /** Index of the step after which the next pass can begin. */
  readonly loop: number
  /** Index of the step after which the user has the token. */
  readonly deliver: number
  /**
   * True if the pass's first run follows a pause: the request begins, or the token came over the link (docs/model.md
   * (6)).
   */
  readonly beginsAfterPause: boolean
}

/** The passes of a plan. */
export interface LoweredPlan {
  readonly prefill: LoweredPass
  /** The pass of every further token; with a collaborative exit, of a token that leaves there. */
  readonly decode: LoweredPass
  /** The pass of a token for which a collaborative exit asks the cloud; null for any other plan. */
  readonly ask: LoweredPass | null
}

/** Numbers of the units in the cloud, by layer. */
type CloudUnits = readonly (readonly number[])[]

/**
 * Lowers a plan to the steps of both sides. `cloudUnits` names the units of each layer that are in the cloud; default:
 * each layer's first ones, which cost the same. With an early exit all units of a layer are on one side.
 */
export function lowerPlan(model: ModelSpec, plan: Plan, cloudUnits: CloudUnits | null = null): LoweredPlan {
  if (plan.exit !== null) return lowerExit(model, plan.exit, plan.boundaryBits)
  const units = cloudUnits === null ? firstUnits(model, plan) : namedUnits(model, cloudUnits)
  const prefill = splitPass(model, plan, units, true)
  const { steps, loop, deliver } = prefill
  // A further token takes the prompt's steps, except that its id is not sent to the cloud if the cloud sampled it.
  const decode =
    plan.embed === CLOUD && plan.head === CLOUD
      ? splitPass(model, plan, units, false)
      : { steps, loop, deliver, beginsAfterPause: plan.embed !== plan.head }
  return { prefill, decode, ask: null }
}

/** The [edge's, cloud's] units of a layer, ascending. */
type UnitsOfLayer = (layer: number) => readonly [edge: readonly number[], cloud: readonly number[]]

function namedUnits(model: ModelSpec, cloudUnits: CloudUnits): UnitsOfLayer {
  return (layer) => {
    const cloud = new Set(cloudUnits[layer])
    const all = allUnits(model)
    return [all.filter((unit) => !cloud.has(unit)), all.filter((unit) => cloud.has(unit))]
  }
}

function firstUnits(model: ModelSpec, plan: Plan): UnitsOfLayer {
  const all = allUnits(model)
  const known: (readonly [number[], number[]])[] = []
  return (layer) => {
    const k = plan.unitsOnCloud[layer]
    return (known[k] ??= [all.slice(k), all.slice(0, k)])
  }
}

function allUnits(model: ModelSpec): number[] {
  const units: number[] = []
  for (let unit = 0; unit < attentionUnits(model); unit++) units.push(unit)
  return units
}

/**
 * The share of an attention is sent to the residual, never the residual to the share, so that the residual is quantised
 * as seldom as possible.
 */
function splitPass(model: ModelSpec, plan: Plan, units: UnitsOfLayer, isPrompt: boolean): LoweredPass {
  const build = new PassBuilder()
  if (plan.embed === CLOUD && (isPrompt || plan.head === EDGE)) build.send(EDGE, 'ids', null)
  build.begin('ids')
  build.part(plan.embed, { kind: 'embed' })
  let side: Side = plan.embed
  for (let layer = 0; layer < model.layers; layer++) {
    const bits = bitsOfLayer(plan, layer)
    attention(build, side, layer, units(layer), sideOfFfnInput(plan.ffn[layer]), bits)
    feedForward(build, layer, plan.ffn[layer], bits)
    side = sideAfterFfn(plan.ffn[layer])
  }
  // The lm_head needs the last position only.
  if (side !== plan.head) build.send(side, 'x', bitsOfLayer(plan, model.layers), true)
  build.part(plan.head, { kind: 'head' })
  const sampled = build.sample(plan.head)
  const delivered = plan.head === CLOUD ? build.send(CLOUD, 'token', null) : sampled
  const loop = plan.embed === CLOUD ? sampled : delivered
  return build.finish(loop, delivered, isPrompt || plan.embed !== plan.head)
}

function attention(
  build: PassBuilder,
  near: Side,
  layer: number,
  units: readonly [readonly number[], readonly number[]],
  sumAt: Side,
  bits: BoundaryBits,
): void {
  const far: Side = near === EDGE ? CLOUD : EDGE
  const share = (side: Side, residual: boolean): SubgraphPart => {
    return { kind: 'attention', layer, units: units[side], residual }
  }
  if (units[far].length === 0) {
    build.part(near, share(near, true))
    if (sumAt !== near) build.send(near, 'x', bits)
    return
  }
  if (units[near].length > 0) {
    build.fork(near, share(near, true), share(far, false), sumAt, bits)
    return
  }
  build.send(near, 'x', bits)
  if (sumAt === far) build.part(far, share(far, true))
  else {
    build.part(far, share(far, false))
    build.send(far, 'partial', bits)
    build.begin('x+partial')
    // Without units: the output bias, which belongs to the residual.
    build.part(near, share(near, true))
  }
}

function feedForward(build: PassBuilder, layer: number, mode: number, bits: BoundaryBits): void {
  if (mode !== 2) {
    build.part(mode === 0 ? EDGE : CLOUD, { kind: 'ffn', layer, part: 'whole' })
    return
  }
  build.part(EDGE, { kind: 'ffn', layer, part: 'first' })
  // The FFN's inner activations are sent together with the residual.
  build.send(EDGE, 'x+hidden', bits)
  build.begin('x+hidden')
  build.part(CLOUD, { kind: 'ffn', layer, part: 'second' })
}

/** Numbers of the two sides' steps of an early exit in frames and events. */
const EXIT_UPLOAD = 0
const EXIT_ANSWER = 1

/**
 * CE-CoLLM (arXiv 2411.02829): the first layers and an exit's head on the edge. Collaborative: hidden states go up
 * while the edge continues. The cloud runs the prompt's through the layers above immediately, and those of further
 * tokens when it is asked for one, all that have arrived in one run.
 */
function lowerExit(model: ModelSpec, exit: EarlyExit, bits: BoundaryBits): LoweredPlan {
  const edge: RunStep = {
    kind: 'run',
    side: EDGE,
    subgraph: {
      input: 'ids',
      parts: [{ kind: 'embed' }, ...wholeLayers(model, 0, exit.layer), { kind: 'exit', layer: exit.layer }],
    },
    after: [],
    number: EXIT_UPLOAD,
  }
  const leave = (at: number): SampleStep => ({ kind: 'sample', side: EDGE, after: [at] })
  const pass = (steps: readonly ExecutionStep[], last: number, beginsAfterPause: boolean): LoweredPass => {
    return { steps, loop: last, deliver: last, beginsAfterPause }
  }
  if (exit.mode === 'standalone') {
    const steps = [edge, leave(0)]
    return { prefill: pass(steps, 1, true), decode: pass(steps, 1, false), ask: null }
  }
  const upload: SendStep = {
    kind: 'send',
    from: EDGE,
    carries: 'x',
    lastRow: false,
    bits,
    after: [0],
    number: EXIT_UPLOAD,
  }
  const cloud: RunStep = {
    kind: 'run',
    side: CLOUD,
    subgraph: { input: 'x', parts: [...wholeLayers(model, exit.layer, model.layers), { kind: 'head' }] },
    after: [1],
    number: EXIT_ANSWER,
  }
  const answered: SampleStep = { kind: 'sample', side: CLOUD, after: [2] }
  const answer: SendStep = {
    kind: 'send',
    from: CLOUD,
    carries: 'token',
    lastRow: false,
    bits: null,
    after: [3],
    number: EXIT_ANSWER,
  }
  return {
    prefill: pass([edge, upload, cloud, leave(0)], 3, true),
    decode: pass([edge, upload, leave(0)], 2, false),
    // The edge waits once for each answer; the wait is charged with the question.
    ask: pass([edge, upload, cloud, answered, answer], 4, true),
  }
}

/** How the edge takes a request over from the cloud: the `boundary` rebuild of its K/V caches. */
interface LoweredMigration {
  /**
   * What the edge runs over the kept boundary rows, to fill the caches of the layers that the cloud had. Null where the
   * edge has every cache that the next plan needs, so that no row is needed.
   */
  readonly subgraph: Subgraph | null
  /** The message that carried those rows up: one row for each position, unless it is the lm_head's alone. */
  readonly upload: SendStep
}

/**
 * How a request passes from `from`, which needs the cloud, to `to`, which does not, without a prefill of its tokens.
 * Null where kept boundary rows cannot fill the caches that are missing.
 */
export function lowerMigration(model: ModelSpec, from: Plan, to: Plan): LoweredMigration | null {
  const cut = cutOf(from, attentionUnits(model))
  if (cut === null || !needsCloud(from) || needsCloud(to)) return null
  const top = to.exit?.layer ?? model.layers
  // A plan of this shape sends one message up in each pass.
  const upload = lowerPlan(model, from).prefill.steps.find(({ kind }) => kind === 'send') as SendStep
  const subgraph: Subgraph | null = top <= cut ? null : { input: 'x', parts: wholeLayers(model, cut, top) }
  return { subgraph, upload }
}

/**
 * Layers [0, cut) lie whole on the edge with the embedding, layers [cut, L) whole in the cloud; L where the cloud has
 * the lm_head alone. Null for a plan of any other shape.
 */
function cutOf(plan: Plan, units: number): number | null {
  if (plan.exit !== null) return plan.exit.layer
  if (plan.embed === CLOUD) return null
  const layers = plan.ffn.length
  let cut = 0
  while (cut < layers && sideOfLayer(plan, cut, units) === EDGE) cut++
  for (let layer = cut; layer < layers; layer++) if (sideOfLayer(plan, layer, units) !== CLOUD) return null
  return cut
}

/** Layers [from, to) with all their units. */
function wholeLayers(model: ModelSpec, from: number, to: number): SubgraphPart[] {
  const units = allUnits(model)
  const parts: SubgraphPart[] = []
  for (let layer = from; layer < to; layer++) {
    parts.push({ kind: 'attention', layer, units, residual: true }, { kind: 'ffn', layer, part: 'whole' })
  }
  return parts
}

/** Collects the steps of a pass; consecutive parts on one side become one run. */
class PassBuilder {
  private readonly steps: ExecutionStep[] = []
  private open: { side: Side; input: Subgraph['input']; parts: SubgraphPart[]; after: number[] } | null = null
  private input: Subgraph['input'] = 'x'
  /** The steps that the next step waits for. */
  private tail: number[] = []
  private numbered = 0

  /** Sets what the next run starts from, if it is not x alone. */
  begin(input: Subgraph['input']): void {
    this.flush()
    this.input = input
  }

  part(side: Side, part: SubgraphPart): void {
    if (this.open?.side !== side) {
      this.flush()
      this.open = { side, input: this.input, parts: [], after: this.tail }
      this.input = 'x'
    }
    this.open.parts.push(part)
  }

  /** Returns the step's index. */
  send(from: Side, carries: SendStep['carries'], bits: BoundaryBits | null, lastRow = false): number {
    this.flush()
    return this.push(this.message(from, carries, bits, lastRow, this.tail))
  }

  /**
   * Attention on both sides in parallel: x is sent to the far side before the near one computes. The far share comes
   * back (`sumAt` = near), or the near one follows x (`sumAt` = far).
   */
  fork(near: Side, nearShare: SubgraphPart, farShare: SubgraphPart, sumAt: Side, bits: BoundaryBits): void {
    this.flush()
    const start = this.tail
    const far: Side = near === EDGE ? CLOUD : EDGE
    const sent = this.push(this.message(near, 'x', bits, false, start))
    const nearDone = this.push(this.run(near, { input: this.input, parts: [nearShare] }, start))
    const farDone = this.push(this.run(far, { input: 'x', parts: [farShare] }, [sent]))
    const isBack = sumAt === near
    const share = isBack
      ? this.message(far, 'partial', bits, false, [farDone])
      : this.message(near, 'x', bits, false, [nearDone])
    this.tail = [isBack ? nearDone : farDone, this.push(share)]
    this.input = 'x+partial'
  }

  /** Returns the step's index. */
  sample(side: Side): number {
    this.flush()
    return this.push({ kind: 'sample', side, after: this.tail })
  }

  finish(loop: number, deliver: number, beginsAfterPause: boolean): LoweredPass {
    return { steps: this.steps, loop, deliver, beginsAfterPause }
  }

  private flush(): void {
    if (this.open === null) return
    const { side, input, parts, after } = this.open
    this.open = null
    this.push(this.run(side, { input, parts }, after))
  }

  private run(side: Side, subgraph: Subgraph, after: readonly number[]): RunStep {
    return { kind: 'run', side, subgraph, after, number: this.numbered++ }
  }

  private message(
    from: Side,
    carries: SendStep['carries'],
    bits: BoundaryBits | null,
    lastRow: boolean,
    after: readonly number[],
  ): SendStep {
    return { kind: 'send', from, carries, lastRow, bits, after, number: this.numbered++ }
  }

  private push(step: ExecutionStep): number {
    const index = this.steps.push(step) - 1
    this.tail = [index]
    return index
  }
}

/** One side's part of a pass, in order: its runs and messages, and its waits for the other side's messages. */
export function sideSteps({ steps }: LoweredPass, side: Side): SideStep[] {
  return steps.flatMap((step): SideStep[] => {
    if (step.kind !== 'send') return step.side === side ? [step] : []
    return [step.from === side ? step : { kind: 'receive', message: step }]
  })
}

/** Whether the cloud samples every further token, so that it knows without being told when the request has ended. */
export function cloudSamples({ decode }: LoweredPlan): boolean {
  return decode.steps.some((step) => step.kind === 'sample' && step.side === CLOUD)
}

/** The subgraphs that a side runs for a plan: those of the prompt's pass, which every further pass uses too. */
export function subgraphsOf({ prefill }: LoweredPlan, side: Side): Subgraph[] {
  return prefill.steps.flatMap((step) => (step.kind === 'run' && step.side === side ? [step.subgraph] : []))
}

/** Elements of a row of a boundary tensor. */
export function rowElements(model: ModelSpec, carries: SendStep['carries']): number {
  return carries === 'x+hidden' ? model.width + model.ffnWidth : model.width
}

/** A label in words: `embed, layers 0-3, head`. */
export function subgraphLabel(subgraph: Subgraph): string {
  const words: string[] = []
  let from: number | null = null
  let last = -1
  const close = () => {
    if (from !== null) words.push(from === last ? `layer ${from}` : `layers ${from}-${last}`)
    from = null
  }
  for (const part of subgraph.parts) {
    if (part.kind === 'embed' || part.kind === 'head' || part.kind === 'exit') {
      close()
      words.push(part.kind)
    } else {
      from ??= part.layer
      last = part.layer
    }
  }
  close()
  return words.join(', ')
}
