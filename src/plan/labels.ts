import { FRESH, NODES, type Group, type Kind, type Layers, type Relaxation } from './relax.ts'
import type { Edge, Effort, Path, Problem } from './solve.ts'

interface Label {
  readonly cost: number
  readonly time: number
  readonly bytes: number
  readonly edge: Edge | null
  readonly before: Label | null
}

/** Labels by node. */
type Front = [Label[], Label[], Label[]]

interface Search {
  readonly problem: Problem
  readonly relaxations: readonly Relaxation[]
  readonly bar: number
  readonly effort: Effort
}

/** Relaxations looked at for each label: each prunes, each costs. */
const USEFUL = 6

/** Share of a time that is rounding. */
const ROUNDING = 1e-14

/** Choices of one kind from one side to another, the least by the strongest relaxation first, and what they weigh there. */
interface Ranked {
  readonly order: Int32Array
  readonly values: Float64Array
}

/** Label setting, layer by layer; returns a path better than `bar`, or null if there is none or the effort ends first. */
export function searchLabels(
  problem: Problem,
  layers: Layers,
  relaxations: readonly Relaxation[],
  bar: number,
  effort: Effort,
): Path | null {
  const useful = [...relaxations].sort((a, b) => b.bound - a.bound).slice(0, USEFUL)
  const ranked = layers.kinds.map((kind) => rank(kind, useful[0]))
  let front: Front = [[], [], [{ ...problem.start, edge: null, before: null }]]
  const search: Search = { problem, relaxations: useful, bar, effort }
  for (let layer = 0; layer < layers.kindOf.length; layer++) {
    const next: Front = [[], [], []]
    const kind = layers.kindOf[layer]
    for (const node of [0, 1, FRESH] as const) {
      for (const label of front[node]) {
        extend(search, layers.kinds[kind], ranked[kind], layer, node, label, next)
        if (effort.left < 0) return null
      }
    }
    front = [undominated(next[0]), undominated(next[1]), undominated(next[FRESH])]
  }
  return bestEnd(problem, useful[0].group, front, bar)
}

function bestEnd(problem: Problem, group: Group, front: Front, bar: number): Path | null {
  let best: Label | null = null
  let least = bar
  for (const node of group === 'leave' ? ([0, 1] as const) : ([0, 1, FRESH] as const)) {
    const last = problem.end[node === FRESH ? problem.startSide : node]
    for (const label of front[node]) {
      const value = label.cost + last.cost + problem.penalty(label.time + last.time)
      if (value < least && label.bytes + last.bytes <= problem.memoryBytes) {
        least = value
        best = label
      }
    }
  }
  return best === null ? null : { value: least, edges: trail(best) }
}

/** Index 2 side before + side after. */
function rank(kind: Kind, { slope, price }: Relaxation): Ranked[] {
  return [0, 1, 2, 3].map((way) => {
    const [side, next] = [way >> 1, way & 1]
    const [cost, time, bytes] = [kind.cost[side], kind.time[side], kind.bytes[side]]
    const weight = (i: number): number => cost[i] + slope * time[i] + price * bytes[i]
    const indices: number[] = []
    for (let i = 0; i < cost.length; i++) if (kind.next[side][i] === next) indices.push(i)
    const order = Int32Array.from(indices.sort((a, b) => weight(a) - weight(b)))
    return { order, values: Float64Array.from(order, weight) }
  })
}

function extend(
  { problem, relaxations, bar, effort }: Search,
  kind: Kind,
  ranked: readonly Ranked[],
  layer: number,
  node: 0 | 1 | 2,
  label: Label,
  next: Front,
): void {
  const side = node === FRESH ? problem.startSide : node
  for (const to of [0, 1] as const) {
    const isFresh = node === FRESH && to === side
    if (node === FRESH && !isFresh && relaxations[0].group === 'stay') continue
    const reached = isFresh ? FRESH : to
    const at = NODES * (layer + 1) + reached
    const { order, values } = ranked[2 * side + to]
    const base = boundAt(problem, relaxations[0], at, label.cost, label.time, label.bytes)
    for (let i = 0; i < order.length; i++) {
      effort.left--
      if (base + values[i] >= bar) break
      const choice = order[i]
      const bytes = label.bytes + kind.bytes[side][choice]
      if (bytes > problem.memoryBytes) continue
      const cost = label.cost + kind.cost[side][choice]
      const time = label.time + kind.time[side][choice]
      if (hopeless(problem, relaxations, at, cost, time, bytes, bar)) continue
      next[reached].push({ cost, time, bytes, edge: kind.edges[side][choice], before: label })
    }
  }
}

function hopeless(
  problem: Problem,
  relaxations: readonly Relaxation[],
  node: number,
  cost: number,
  time: number,
  bytes: number,
  bar: number,
): boolean {
  for (let i = 1; i < relaxations.length; i++) {
    if (boundAt(problem, relaxations[i], node, cost, time, bytes) >= bar) return true
  }
  return false
}

function boundAt(
  problem: Problem,
  { slope, price, intercept, toGo }: Relaxation,
  node: number,
  cost: number,
  time: number,
  bytes: number,
): number {
  const limit = price === 0 ? 0 : price * (bytes - problem.memoryBytes)
  return cost + slope * time + limit + toGo[node] + intercept
}

/**
 * Labels that no other label equals or betters in cost, time and bytes. The same choices in another order round
 * otherwise: times within rounding are equal.
 */
function undominated(labels: Label[]): Label[] {
  labels.sort((a, b) => a.cost - b.cost || a.time - b.time || a.bytes - b.bytes)
  const kept: Label[] = []
  // Of those kept, the ones that dominate most: time rises, bytes fall.
  const times: number[] = []
  const bytes: number[] = []
  for (const label of labels) {
    let at = upperBound(times, label.time + ROUNDING * Math.abs(label.time))
    if (at > 0 && bytes[at - 1] <= label.bytes) continue
    kept.push(label)
    at = upperBound(times, label.time)
    let until = at
    while (until < bytes.length && bytes[until] >= label.bytes) until++
    times.splice(at, until - at, label.time)
    bytes.splice(at, until - at, label.bytes)
  }
  return kept
}

/** How many of ascending `values` are at most `limit`. */
function upperBound(values: readonly number[], limit: number): number {
  let [low, high] = [0, values.length]
  while (low < high) {
    const middle = (low + high) >> 1
    if (values[middle] <= limit) low = middle + 1
    else high = middle
  }
  return low
}

function trail(label: Label): Edge[] {
  const edges: Edge[] = []
  for (let at: Label | null = label; at !== null; at = at.before) if (at.edge !== null) edges.push(at.edge)
  return edges.reverse()
}
