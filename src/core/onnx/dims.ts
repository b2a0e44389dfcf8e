import type { Dim } from './proto.ts'

/** Arithmetic on dimensions, which may be names. Names combine into expressions such as `P+S` or `N*12`. */

export function showDims(dims: readonly Dim[]): string {
  return `[${dims.join(', ')}]`
}

/** Whether two shapes are equal. */
export function sameDims(a: readonly Dim[], b: readonly Dim[]): boolean {
  return a.length === b.length && a.every((dim, i) => dim === b[i])
}

/** Whether all dimensions are numbers. */
export function isStatic(dims: readonly Dim[]): dims is readonly number[] {
  return dims.every((dim) => typeof dim === 'number')
}

/** The multidirectional broadcast of two shapes; undefined if they do not fit. */
export function broadcast(a: readonly Dim[], b: readonly Dim[]): Dim[] | undefined {
  const rank = Math.max(a.length, b.length)
  const out: Dim[] = []
  for (let i = 0; i < rank; i++) {
    const x = a[i - rank + a.length] ?? 1
    const y = b[i - rank + b.length] ?? 1
    if (x !== y && x !== 1 && y !== 1) return undefined
    out.push(x === 1 ? y : x)
  }
  return out
}

/** The sum of dimensions along a concatenation. */
export function addDims(dims: readonly Dim[]): Dim {
  const names = dims.filter((dim) => typeof dim === 'string')
  const size = dims.reduce<number>((sum, dim) => (typeof dim === 'number' ? sum + dim : sum), 0)
  if (names.length === 0) return size
  return size === 0 ? names.join('+') : `${names.join('+')}+${size}`
}

interface Product {
  size: number
  names: string[]
}

/** A product as a number times sorted names. Takes a product name such as `N*12` apart, but not a sum. */
function productOf(dims: readonly Dim[]): Product {
  const out: Product = { size: 1, names: [] }
  for (const dim of dims) {
    const factors = typeof dim === 'number' ? [dim] : /[+(]/.test(dim) ? [dim] : dim.split('*')
    for (const factor of factors) {
      const size = Number(factor)
      if (Number.isNaN(size)) out.names.push(String(factor))
      else out.size *= size
    }
  }
  out.names.sort()
  return out
}

/** whole / part as one dimension; undefined if it is not a whole number. */
export function divideDims(whole: readonly Dim[], part: readonly Dim[]): Dim | undefined {
  const from = productOf(whole)
  const by = productOf(part)
  const names = [...from.names]
  for (const name of by.names) {
    const at = names.indexOf(name)
    if (at < 0) return undefined
    names.splice(at, 1)
  }
  const size = by.size === 0 ? 0 : from.size / by.size
  if (!Number.isInteger(size)) return undefined
  if (names.length === 0) return size
  return size === 1 ? names.join('*') : `${names.join('*')}*${size}`
}

/** Whether both shapes hold the same number of elements for any value of the names. */
export function sameSize(a: readonly Dim[], b: readonly Dim[]): boolean {
  const x = productOf(a)
  const y = productOf(b)
  return x.size === y.size && x.names.join('*') === y.names.join('*')
}

/** Converts an axis that may count from the end to 0..rank-1; undefined if out of range. */
export function normaliseAxis(axis: number, rank: number): number | undefined {
  if (!Number.isInteger(axis) || axis < -rank || axis >= rank) return undefined
  return axis < 0 ? axis + rank : axis
}
