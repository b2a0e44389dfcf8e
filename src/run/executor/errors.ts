import { EdgewiseError } from '../../core/errors.ts'

/** Codes of failed requests. */
type ExecutionCode =
  /** The peer sent a message that the lowered plan does not contain. */
  | 'E_UNEXPECTED_FRAME'
  /** The connection to the cloud is lost, or never existed. */
  | 'E_NO_CLOUD'
  /** The other side could not continue a request. */
  | 'E_PEER_FAILED'
  /** The caller cancelled the request. */
  | 'E_CANCELLED'
  /** A running request brought no token for longer than its stall limits: a link or an engine hangs. */
  | 'E_STALLED'
  /** The cloud has no capacity for the request now. */
  | 'E_BUSY'
  /** The cloud is shutting down and takes no new requests. */
  | 'E_DRAINING'
  /** The edge sent nothing for too long, and its request was ended. */
  | 'E_IDLE'
  /** A run gave NaN or an infinity: the weights are damaged, or the precision is too low for them. */
  | 'E_NOT_FINITE'

/** A request failed; its tokens so far were delivered to the caller. */
export class ExecutionError extends EdgewiseError {
  constructor(code: ExecutionCode, message: string, options: { cause?: unknown } = {}) {
    super(code, message, options)
  }
}

/** The connection is lost and will not be restored. */
export function noCloud(message: string, cause?: unknown): ExecutionError {
  return new ExecutionError('E_NO_CLOUD', `the connection to the cloud is gone: ${message}`, { cause })
}

/** No connection was restored in time. */
export function cloudAway(message: string, waitSeconds: number | null): ExecutionError {
  const waited = waitSeconds === null ? '' : ` for ${waitSeconds} s`
  return new ExecutionError('E_NO_CLOUD', `no connection to the cloud${waited}: ${message}`)
}

/** The cloud is connected but did not accept the request in time. */
export function cloudRefuses(code: string, message: string): ExecutionError {
  return new ExecutionError('E_NO_CLOUD', `the cloud does not take the request (${code})\n${message}`)
}

/** The error for a request that the cloud ended. */
export function peerFailed(code: string, message: string): ExecutionError {
  return new ExecutionError('E_PEER_FAILED', `the cloud ended the request (${code})\n${message}`)
}

/** Why a request was given up: the reason of the aborted signal, or that its caller cancelled it. */
export function abortReason(signal: AbortSignal): EdgewiseError {
  const { reason } = signal as { reason: unknown }
  return reason instanceof EdgewiseError ? reason : cancelled()
}

/** The error for a request that its caller cancelled. */
export function cancelled(): ExecutionError {
  return new ExecutionError('E_CANCELLED', 'the request was cancelled')
}
