// Succeeds where the server of this container takes requests: asks its own /readyz. EDGEWISE_READY names another address.
import { get as getPlain } from 'node:http'
import { get as getSecure } from 'node:https'

const url = process.env.EDGEWISE_READY ?? 'http://127.0.0.1:8080/readyz'
const get = url.startsWith('https:') ? getSecure : getPlain
// The certificate names the outside host, and this asks nobody but itself.
const request = get(url, { rejectUnauthorized: false, timeout: 3000 }, (answer) => {
  process.exit(answer.statusCode === 200 ? 0 : 1)
})
request.on('timeout', () => process.exit(1))
request.on('error', () => process.exit(1))
