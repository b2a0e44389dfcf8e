import { EdgewiseError } from '../../core/errors.ts'

export type ExecutionCode =
  /** The peer sent something that the schedule does not have. */
  | 'E_UNEXPECTED_FRAME'
  /** The connection to the cloud is gone, or was never there. */
  | 'E_NO_CLOUD'
  /** The other side could not go on with a request. */
  | 'E_PEER_FAILED'
  /** The caller gave the request up. */
  | 'E_CANCELLED'
  /** A phase of the request took longer than it may. */
  | 'E_DEADLINE'
  /** The cloud has no room for the request; later it may. */
  | 'E_BUSY'
  /** The cloud is about to end and takes no new request. */
  | 'E_DRAINING'
  /** Nothing came from the edge for so long that its place was freed. */
  | 'E_IDLE'

/** A request could not be carried out; what it generated so far is with the caller. */
export class ExecutionError extends EdgewiseError {
  constructor(code: ExecutionCode, message: string, options: { cause?: unknown } = {}) {
    super(code, message, options)
  }
}

/** A connection that does not come back is gone. */
export function noCloud(message: string, cause?: unknown): ExecutionError {
  return new ExecutionError('E_NO_CLOUD', `the connection to the cloud is gone: ${message}`, { cause })
}

/** None came back in time. */
export function cloudAway(message: string, waitSeconds: number | null): ExecutionError {
  const waited = waitSeconds === null ? '' : ` for ${waitSeconds} s`
  return new ExecutionError('E_NO_CLOUD', `no connection to the cloud${waited}: ${message}`)
}

/** It is there and did not take the request in time. */
export function cloudRefuses(code: string, message: string): ExecutionError {
  return new ExecutionError('E_NO_CLOUD', `the cloud does not take the request (${code})\n${message}`)
}

export function peerFailed(code: string, message: string): ExecutionError {
  return new ExecutionError('E_PEER_FAILED', `the cloud gave the request up (${code})\n${message}`)
}

export function cancelled(): ExecutionError {
  return new ExecutionError('E_CANCELLED', 'the request was cancelled')
}
