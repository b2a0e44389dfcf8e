import { InputError } from '../../core/errors.ts'

/** Longest window in tokens, because the time of attention is quadratic in it. */
const WINDOW_TOKENS = 512

/** Consecutive tokens: all but the last are inputs, and each predicts the next one. */
export type Window = readonly number[]

/** Whole texts, each a window from its beginning, until `tokens` predictions are reached; the last one may be cut. */
export function textWindows(texts: readonly Window[], contextTokens: number, tokens: number): Window[] {
  const limit = windowTokens(contextTokens) + 1
  const windows: Window[] = []
  let left = tokens
  for (const text of texts) {
    if (left === 0) break
    const window = text.slice(0, Math.min(limit, left + 1))
    if (window.length < 2) continue
    windows.push(window)
    left -= window.length - 1
  }
  return nonEmpty(windows)
}

/**
 * Cuts a long text into windows. The last token of one window is the first of the next, so that each token is predicted
 * once.
 */
export function cutWindows(ids: Window, contextTokens: number, tokens: number): Window[] {
  const step = windowTokens(contextTokens)
  const end = Math.min(ids.length, tokens + 1)
  const windows: Window[] = []
  for (let from = 0; from + 1 < end; from += step)
    windows.push(ids.slice(from, Math.min(end, from + step + 1)))
  return nonEmpty(windows)
}

function windowTokens(contextTokens: number): number {
  return Math.min(contextTokens, WINDOW_TOKENS)
}

function nonEmpty(windows: Window[]): Window[] {
  if (windows.length > 0) return windows
  throw new InputError({
    where: 'text to measure on',
    expected: 'at least two tokens',
    found: 'fewer',
    remedy: 'name a longer --text',
  })
}
