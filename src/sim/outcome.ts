import type { RequestOutcome, Totals } from './types.ts'

/** The outcome of a request to which nothing has happened yet. */
export function emptyOutcome(request: number): RequestOutcome {
  return {
    request,
    dispatchSeconds: NaN,
    firstTokenSeconds: NaN,
    lastTokenSeconds: NaN,
    stallSeconds: 0,
    edgeBusySeconds: 0,
    cloudBusySeconds: 0,
    upBytes: 0,
    downBytes: 0,
    messages: 0,
    accuracyLoss: 0,
  }
}

export function emptyTotals(): Totals {
  return {
    edgeBusySeconds: 0,
    cloudBusySeconds: 0,
    upBytes: 0,
    downBytes: 0,
    messages: 0,
    upBusySeconds: 0,
    downBusySeconds: 0,
    inSystemSeconds: 0,
    awaitingFirstTokenSeconds: 0,
    stallSeconds: 0,
    waitingSeconds: 0,
    finished: 0,
    stageEvents: 0,
  }
}
