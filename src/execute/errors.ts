import { EdgewiseError } from '../base/errors.ts'

export type ExecutionCode =
  /** The peer sent something that the schedule does not have. */
  | 'E_UNEXPECTED_FRAME'
  /** The connection to the cloud is gone, or was never there. */
  | 'E_NO_CLOUD'
  /** The other side could not go on with a request. */
  | 'E_PEER_FAILED'
  /** The caller gave the request up. */
  | 'E_CANCELLED'

/** A request could not be carried out; what it generated so far is with the caller. */
export class ExecutionError extends EdgewiseError {
  constructor(code: ExecutionCode, message: string, options: { cause?: unknown } = {}) {
    super(code, message, options)
  }
}
