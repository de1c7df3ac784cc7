// An echo server and its client over Node's net module.
//
//   net.js server PORT
//   net.js client HOST PORT COUNT    COUNT connections at once, 100 kB on each
'use strict'
const net = require('node:net')
const [role, ...args] = process.argv.slice(2)

if (role === 'server') {
  const server = net.createServer({ allowHalfOpen: true }, (socket) => {
    console.log('client', socket.remoteAddress, 'on', socket.localAddress)
    socket.pipe(socket)
    socket.on('error', (err) => console.log('lost', err.code))
  })
  server.listen(Number(args[0]), () => console.log('listening', server.address().address))
} else {
  const [host, port, count] = [args[0], Number(args[1]), Number(args[2])]
  let left = count
  for (let i = 0; i < count; i++) {
    const data = Buffer.alloc(100_000, 'connection ' + i)
    const socket = net.connect({ host, port })
    const back = []
    socket.on('connect', () => socket.end(data))
    socket.on('data', (chunk) => back.push(chunk))
    socket.on('error', (err) => { console.error(err); process.exit(1) })
    socket.on('end', () => {
      if (!Buffer.concat(back).equals(data)) {
        console.error('connection', i, 'came back changed')
        process.exit(1)
      }
      if (--left === 0) console.log(count, 'connections ok')
    })
  }
  // A connection that nobody waits for, and a port that nobody listens on.
  const refused = net.connect({ host, port: port + 1 })
  refused.on('connect', () => { console.error('port', port + 1, 'is open'); process.exit(1) })
  refused.on('error', (err) => console.log('refused', err.code))
}
