import type { Pieces } from './pieces.ts'

/** Pieces with a lower score are never formed (run.c, encode). */
const LEAST_SCORE = -1e10

/** A pair of neighbours that could be merged: their positions, their ids, and the id of the merged piece. */
interface Candidate {
  readonly score: number
  readonly left: number
  readonly right: number
  readonly leftId: number
  readonly rightId: number
  readonly id: number
}

/**
 * Merges neighbours into pieces of the vocabulary, always the pair with the highest score, and of equal ones the
 * leftmost (run.c, encode). Uses a heap of candidates over a linked list, so that the time for long prompts is not
 * quadratic.
 */
export function mergePieces(vocabulary: Pieces, first: readonly number[]): number[] {
  const { pieces, scores, ids } = vocabulary
  const id = [...first]
  const next = first.map((_, i) => (i + 1 < first.length ? i + 1 : -1))
  const previous = first.map((_, i) => i - 1)
  const heap: Candidate[] = []
  const consider = (left: number) => {
    const right = left < 0 ? -1 : next[left]
    if (right < 0) return
    const merged = ids.get(pieces[id[left]] + pieces[id[right]])
    if (merged === undefined || scores[merged] <= LEAST_SCORE) return
    push(heap, { score: scores[merged], left, right, leftId: id[left], rightId: id[right], id: merged })
  }
  for (let i = 0; i < first.length; i++) consider(i)
  for (let best = pop(heap); best !== undefined; best = pop(heap)) {
    const { left, right } = best
    if (id[left] !== best.leftId || next[left] !== right || id[right] !== best.rightId) continue
    id[left] = best.id
    id[right] = -1
    next[left] = next[right]
    if (next[left] >= 0) previous[next[left]] = left
    consider(previous[left])
    consider(left)
  }
  return id.filter((one) => one >= 0)
}

function before(a: Candidate, b: Candidate): boolean {
  return a.score > b.score || (a.score === b.score && a.left < b.left)
}

function push(heap: Candidate[], value: Candidate): void {
  let at = heap.push(value) - 1
  while (at > 0) {
    const parent = (at - 1) >> 1
    if (!before(value, heap[parent])) break
    heap[at] = heap[parent]
    at = parent
  }
  heap[at] = value
}

function pop(heap: Candidate[]): Candidate | undefined {
  const top = heap[0]
  const last = heap.pop()
  if (last === undefined || heap.length === 0) return top
  let at = 0
  for (;;) {
    let child = 2 * at + 1
    if (child >= heap.length) break
    if (child + 1 < heap.length && before(heap[child + 1], heap[child])) child++
    if (!before(heap[child], last)) break
    heap[at] = heap[child]
    at = child
  }
  heap[at] = last
  return top
}
