import type { Subgraph, SubgraphPart } from '../../model/graphs/subgraphTypes.ts'
import type { ModelSpec } from '../../model/spec.ts'
import { attentionUnits } from '../../model/spec.ts'
import {
  bitsOfLayer,
  CLOUD,
  EDGE,
  sideAfterFfn,
  sideOfFfnInput,
  type BoundaryBits,
  type Plan,
  type Side,
} from '../../plan/plan.ts'

/**
 * What both sides do for one pass through the layers, in an order that both can walk: a side does its own
 * computes and sends, and waits for the other side's sends. Its compute and send steps are the stages that
 * compileProgram prices, one for one.
 */
export type ExecutionStep = RunStep | SendStep

export interface RunStep {
  readonly kind: 'compute'
  readonly side: Side
  readonly segment: Subgraph
}

/**
 * A message. `ids`: the tokens of this pass. `token`: the one just sampled, for the user. The others are boundary
 * tensors; with `lastRow` only the last position's row is needed.
 */
export interface SendStep {
  readonly kind: 'send'
  readonly from: Side
  readonly carries: 'ids' | 'token' | 'x' | 'partial' | 'x+hidden'
  readonly lastRow: boolean
  /** Per element of a boundary tensor; null for ids and tokens. */
  readonly bits: BoundaryBits | null
}

export interface LoweredPlan {
  /** The prompt's pass, and the pass of every further token. */
  readonly prefill: readonly ExecutionStep[]
  readonly decode: readonly ExecutionStep[]
  /** Where the sampler sits. */
  readonly lmHead: Side
}

/**
 * The schedule of a plan without early exit. `cloudUnits` names, per layer, the units that lie in the cloud.
 * A share of an attention goes back to the residual, never the residual to the share: quantised boundaries
 * touch it as seldom as possible.
 */
export function lowerPlan(
  model: ModelSpec,
  plan: Plan,
  cloudUnits: readonly (readonly number[])[],
): LoweredPlan {
  const prefill = pass(model, plan, cloudUnits, true)
  const decode = pass(model, plan, cloudUnits, false)
  return { prefill, decode, lmHead: plan.head }
}

function pass(
  model: ModelSpec,
  plan: Plan,
  cloudUnits: readonly (readonly number[])[],
  prefill: boolean,
): ExecutionStep[] {
  const build = new LoweredPlanBuilder(plan.boundaryBits)
  // In decode a cloud-side sampler already has the token; an edge-side one sends its id up.
  if (plan.embed === CLOUD && (prefill || plan.head === EDGE)) build.send(EDGE, 'ids')
  build.begin('ids')
  build.part(plan.embed, { kind: 'embed' })
  let side: Side = plan.embed
  for (let layer = 0; layer < model.layers; layer++) {
    build.bits = bitsOfLayer(plan, layer)
    const sumAt = sideOfFfnInput(plan.ffn[layer])
    attention(build, side, layer, unitsBySide(model, cloudUnits[layer]), sumAt)
    feedForward(build, layer, plan.ffn[layer])
    side = sideAfterFfn(plan.ffn[layer])
  }
  build.bits = bitsOfLayer(plan, model.layers)
  if (side !== plan.head) build.send(side, 'x', true)
  build.part(plan.head, { kind: 'head' })
  build.flush()
  if (plan.head === CLOUD) build.send(CLOUD, 'token')
  return build.steps
}

/** [edge's, cloud's] units of one layer, ascending. */
function unitsBySide(model: ModelSpec, onCloud: readonly number[]): readonly [number[], number[]] {
  const cloud = new Set(onCloud)
  const all = Array.from({ length: attentionUnits(model) }, (_, unit) => unit)
  return [all.filter((unit) => !cloud.has(unit)), all.filter((unit) => cloud.has(unit))]
}

function attention(
  build: LoweredPlanBuilder,
  near: Side,
  layer: number,
  units: readonly [number[], number[]],
  sumAt: Side,
): void {
  const far: Side = near === EDGE ? CLOUD : EDGE
  const share = (side: Side, residual: boolean): SubgraphPart => ({
    ...{ kind: 'attention', layer },
    ...{ units: units[side], residual },
  })
  if (units[far].length === 0) {
    build.part(near, share(near, true))
    if (sumAt !== near) build.send(near, 'x')
    return
  }
  build.send(near, 'x')
  if (units[near].length > 0) fork(build, near, share(near, true), share(far, false), sumAt)
  else if (sumAt === far) build.part(far, share(far, true))
  else {
    build.part(far, share(far, false))
    build.send(far, 'partial')
    build.begin('x+partial')
    // No units: the output bias, which belongs to the residual.
    build.part(near, share(near, true))
  }
}

/** Both sides at once: x went to the far side before the near one computes. */
function fork(
  build: LoweredPlanBuilder,
  near: Side,
  nearShare: SubgraphPart,
  farShare: SubgraphPart,
  sumAt: Side,
): void {
  const far: Side = near === EDGE ? CLOUD : EDGE
  build.part(near, nearShare)
  build.flush()
  build.part(far, farShare)
  if (sumAt === near) build.send(far, 'partial')
  else build.send(near, 'x')
  build.begin('x+partial')
}

function feedForward(build: LoweredPlanBuilder, layer: number, mode: number): void {
  if (mode !== 2) {
    build.part(mode === 0 ? EDGE : CLOUD, { kind: 'ffn', layer, part: 'whole' })
    return
  }
  build.part(EDGE, { kind: 'ffn', layer, part: 'first' })
  build.send(EDGE, 'x+hidden')
  build.begin('x+hidden')
  build.part(CLOUD, { kind: 'ffn', layer, part: 'second' })
}

/** Collects steps; consecutive parts on one side become one segment. */
class LoweredPlanBuilder {
  readonly steps: ExecutionStep[] = []
  /** Of the boundary tensors that are sent next. */
  bits: BoundaryBits
  private open: { side: Side; input: Subgraph['input']; parts: SubgraphPart[] } | null = null
  private input: Subgraph['input'] = 'x'

  constructor(bits: BoundaryBits) {
    this.bits = bits
  }

  /** What the next segment starts from, where it is not x alone. */
  begin(input: Subgraph['input']): void {
    this.flush()
    this.input = input
  }

  part(side: Side, part: SubgraphPart): void {
    if (this.open?.side !== side) {
      this.flush()
      this.open = { side, input: this.input, parts: [] }
      this.input = 'x'
    }
    this.open.parts.push(part)
  }

  send(from: Side, carries: SendStep['carries'], lastRow = false): void {
    this.flush()
    const bits = carries === 'ids' || carries === 'token' ? null : this.bits
    this.steps.push({ kind: 'send', from, carries, lastRow, bits })
  }

  flush(): void {
    if (this.open === null) return
    const { side, input, parts } = this.open
    this.open = null
    this.steps.push({ kind: 'compute', side, segment: { input, parts } })
  }
}

/** In words: `embed, layers 0-3, head`. */
export function subgraphLabel(segment: Subgraph): string {
  const words: string[] = []
  let from: number | null = null
  let last = -1
  const close = () => {
    if (from !== null) words.push(from === last ? `layer ${from}` : `layers ${from}-${last}`)
    from = null
  }
  for (const part of segment.parts) {
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
