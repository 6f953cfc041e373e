// Runs the public HTTP cache conformance suite (npm http-cache-tests) through an edge
// alone: the suite's own origin behind `civicnet run edge`, its own client in front.
//
//   node run.mjs                 starts the edge found in CIVICNET_BIN
//   node run.mjs --id TEST-ID    one test, with what was sent and received
//   node run.mjs --all           lists the optional behaviours too
//
// Fails when a required test fails. The last line is for tests/run.

import { spawn } from 'node:child_process'
import http from 'node:http'
import net from 'node:net'
import os from 'node:os'
import path from 'node:path'
import fetch from 'node-fetch'
import handleConfig from 'http-cache-tests/server/handle-config.mjs'
import handleState from 'http-cache-tests/server/handle-state.mjs'
import handleTest from 'http-cache-tests/server/handle-test.mjs'
import { getResults, runTests } from 'http-cache-tests/client/runner.mjs'
import suites from 'http-cache-tests/tests/index.mjs'
import surrogate from 'http-cache-tests/tests/surrogate-control.mjs'

const START_MS = 20_000
const option = name => {
  const at = process.argv.indexOf(name)
  return at < 0 ? undefined : process.argv[at + 1]
}
const only = option('--id')
const showAll = process.argv.includes('--all')

function origin () {
  const handlers = { config: handleConfig, state: handleState, test: handleTest }
  const server = http.createServer((request, response) => {
    const [kind, ...segments] = request.url.split('?')[0].slice(1).split('/')
    const handler = handlers[kind]
    if (handler) return handler(segments, request, response)
    response.writeHead(404).end()
  })
  return new Promise(resolve => server.listen(0, '127.0.0.1', () => resolve(server)))
}

function freePort () {
  return new Promise(resolve => {
    const probe = net.createServer().listen(0, '127.0.0.1', () => {
      const { port } = probe.address()
      probe.close(() => resolve(port))
    })
  })
}

async function edge (originPort) {
  const target = process.env.CARGO_TARGET_DIR ?? path.join(os.homedir(), '.cache/civicnet/target')
  const binary = process.env.CIVICNET_BIN ?? path.join(target, 'release/civicnet')
  const port = await freePort()
  const args = ['run', 'edge', '--origin', `http://127.0.0.1:${originPort}`, '--listen', `127.0.0.1:${port}`]
  const child = spawn(binary, args, { stdio: ['ignore', 'ignore', 'pipe'] })
  let log = ''
  child.stderr.on('data', data => { log = (log + data).slice(-4000) })
  let ended
  child.on('error', error => { ended = error.message })
  child.on('exit', code => { ended = ended ?? `exit code ${code}` })
  const until = Date.now() + START_MS
  for (;;) {
    if (ended) throw new Error(`the edge ended: ${ended}\n${log}`)
    const open = await new Promise(resolve => {
      const socket = net.connect(port, '127.0.0.1')
      socket.on('connect', () => { socket.destroy(); resolve(true) })
      socket.on('error', () => resolve(false))
    })
    if (open) return { child, base: `http://127.0.0.1:${port}`, ended: () => ended && `${ended}\n${log}` }
    if (Date.now() > until) throw new Error(`the edge does not listen on port ${port}\n${log}`)
    await new Promise(resolve => setTimeout(resolve, 50))
  }
}

const server = await origin()
const { child, base, ended } = await edge(server.address().port)
process.on('exit', () => child.kill())

const all = [...suites, surrogate].flatMap(suite =>
  suite.tests.filter(test => !test.browser_only).map(test => ({ ...test, suite: suite.id })))
const tests = only ? all.filter(test => test.id === only).map(test => ({ ...test, dump: true })) : all
if (tests.length === 0) throw new Error(`there is no test ${only}`)

// The suite logs every unusual request of its own; only what is printed here counts.
const print = console.log
if (!only) console.log = () => {}
await runTests([{ name: 'all', id: 'all', tests }], fetch, false, base)
console.log = print

const results = getResults()
const tally = {}
const skipped = []
for (const test of tests) {
  const kind = test.kind ?? 'required'
  const result = results[test.id]
  const passed = result === true
  // As the suite itself counts: nothing is said about a test whose condition does not
  // hold. `stale-close-*` ask that one who serves stale unasked obeys prohibitions.
  if (!passed && test.depends_on?.some(id => results[id] !== undefined && results[id] !== true)) {
    skipped.push(`${test.suite}/${test.id}`)
    continue
  }
  tally[kind] ??= { passed: 0, failed: 0 }
  tally[kind][passed ? 'passed' : 'failed']++
  if (!passed && (kind === 'required' || showAll || only)) {
    print(`${kind} ${test.suite}/${test.id}: ${result?.join(': ') ?? 'no result'}`)
  }
}
if (ended()) print(`the edge ended in between: ${ended()}`)
server.closeAllConnections?.()
server.close()
child.kill()
if (skipped.length > 0) print(`condition does not hold: ${skipped.length}: ${skipped.join(' ')}`)
for (const kind of ['check', 'optimal', 'required']) {
  const { passed, failed } = tally[kind] ?? { passed: 0, failed: 0 }
  print(`${kind}: ${passed} passed, ${failed} failed`)
}
const failed = tally.required?.failed ?? 0
process.exit(failed > 0 ? 1 : 0)
