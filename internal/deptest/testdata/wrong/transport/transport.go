// Packets are carried here.
package transport
