#define _GNU_SOURCE
#include <sys/socket.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/un.h>
#include <linux/netlink.h>
#include <linux/if_packet.h>
#include <net/ethernet.h>
#include <arpa/inet.h>
#include <unistd.h>
#include <string.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>

// Network calls of many kinds, also wrong ones, for a comparison of boxer trace with strace.
int main(void)
{
 int l=socket(AF_INET,SOCK_STREAM|SOCK_CLOEXEC,0); int one=1;
 setsockopt(l,SOL_SOCKET,SO_REUSEADDR,&one,4);
 struct sockaddr_in a={.sin_family=AF_INET,.sin_addr.s_addr=htonl(INADDR_LOOPBACK)}; socklen_t n=sizeof a;
 bind(l,(void*)&a,n); listen(l,5); struct sockaddr_storage ss; n=sizeof ss; getsockname(l,(void*)&ss,&n); memcpy(&a,&ss,n);

 int c=socket(AF_INET,SOCK_STREAM,IPPROTO_TCP); connect(c,(void*)&a,sizeof a);
 n=sizeof ss; int s=accept4(l,(void*)&ss,&n,SOCK_NONBLOCK); 
 send(c,"hello world",11,MSG_NOSIGNAL); char buf[64]; poll(&(struct pollfd){s,POLLIN},1,1000); recv(s,buf,64,0); recv(s,buf,64,0); recv(s,buf,64,MSG_DONTWAIT|MSG_PEEK);
 struct iovec v[2]={{"abc",3},{"defg",4}}; struct msghdr m={.msg_iov=v,.msg_iovlen=2}; sendmsg(c,&m,0); poll(&(struct pollfd){s,POLLIN},1,1000);
 struct iovec w[2]={{buf,2},{buf+2,60}}; struct msghdr m2={.msg_iov=w,.msg_iovlen=2}; recvmsg(s,&m2,0);
 struct linger li={1,5}; setsockopt(c,SOL_SOCKET,SO_LINGER,&li,sizeof li); n=sizeof li; getsockopt(c,SOL_SOCKET,SO_LINGER,&li,&n);
 struct timeval tv={1,500000}; setsockopt(c,SOL_SOCKET,SO_RCVTIMEO,&tv,sizeof tv); n=sizeof tv; getsockopt(c,SOL_SOCKET,SO_RCVTIMEO,&tv,&n);
 int v4; n=4; getsockopt(c,SOL_SOCKET,SO_ERROR,&v4,&n); n=4; getsockopt(c,SOL_SOCKET,SO_TYPE,&v4,&n);n=4; getsockopt(c,SOL_SOCKET,SO_DOMAIN,&v4,&n);n=4; getsockopt(c,SOL_SOCKET,SO_PROTOCOL,&v4,&n);
 n=2; getsockopt(c,SOL_SOCKET,SO_RCVBUF,&v4,&n); setsockopt(c,IPPROTO_TCP,TCP_NODELAY,&one,4); char ca[16];n=16; getsockopt(c,IPPROTO_TCP,TCP_CONGESTION,ca,&n); setsockopt(c,IPPROTO_TCP,TCP_CONGESTION,"cubic",5);
 char ti[300]; n=sizeof ti; getsockopt(c,IPPROTO_TCP,TCP_INFO,ti,&n); setsockopt(c,SOL_IP,IP_TOS,&one,4); setsockopt(c,SOL_SOCKET,999,&one,4); setsockopt(c,SOL_SOCKET,SO_SNDBUF,(void*)8,4); setsockopt(c,SOL_SOCKET,SO_KEEPALIVE,&one,2);
 struct ucred uc; n=sizeof uc;getsockopt(c,SOL_SOCKET,SO_PEERCRED,&uc,&n); setsockopt(c,SOL_SOCKET,SO_BINDTODEVICE,"lo",3); unsigned mark=3; setsockopt(c,SOL_SOCKET,SO_MARK,&mark,4);
 shutdown(c,SHUT_WR); n=sizeof ss; getpeername(c,(void*)&ss,&n); n=4; getpeername(c,(void*)&ss,&n); 
 int u=socket(AF_INET6,SOCK_DGRAM,0); struct sockaddr_in6 a6={.sin6_family=AF_INET6,.sin6_port=htons(9),.sin6_addr=in6addr_loopback,.sin6_flowinfo=htonl(5)}; setsockopt(u,SOL_IPV6,IPV6_V6ONLY,&one,4);
 sendto(u,"x",1,MSG_DONTWAIT|MSG_CONFIRM,(void*)&a6,sizeof a6); recvfrom(u,buf,10,MSG_DONTWAIT,(void*)&ss,&n); connect(u,(void*)&a6,sizeof a6);
 struct mmsghdr mm[2]={{.msg_hdr=m},{.msg_hdr=m}}; sendmmsg(u,mm,2,0); struct mmsghdr mr[2]={{.msg_hdr=m2},{.msg_hdr=m2}}; struct timespec ts={1,5}; recvmmsg(u,mr,2,MSG_DONTWAIT,0); recvmmsg(u,mr,2,MSG_DONTWAIT,&ts);
 int sp[2]; socketpair(AF_UNIX,SOCK_STREAM,0,sp); char cb[CMSG_SPACE(8)]; struct msghdr m3={.msg_iov=v,.msg_iovlen=1,.msg_control=cb,.msg_controllen=CMSG_SPACE(8)}; struct cmsghdr*cm=CMSG_FIRSTHDR(&m3); cm->cmsg_level=SOL_SOCKET;cm->cmsg_type=SCM_RIGHTS;cm->cmsg_len=CMSG_LEN(8);memcpy(CMSG_DATA(cm),sp,8); sendmsg(sp[0],&m3,MSG_NOSIGNAL);
 char cb2[200]; struct msghdr m4={.msg_iov=w,.msg_iovlen=2,.msg_control=cb2,.msg_controllen=200}; recvmsg(sp[1],&m4,MSG_CMSG_CLOEXEC);
 struct sockaddr_un un={.sun_family=AF_UNIX,.sun_path="/tmp/nonexist"}; int x=socket(AF_UNIX,SOCK_STREAM,0); connect(x,(void*)&un,sizeof un); strcpy(un.sun_path+1,"abstract"); un.sun_path[0]=0; bind(x,(void*)&un,2+9); n=sizeof un; getsockname(x,(void*)&un,&n); getsockname(sp[0],(void*)&un,&n);
 int nl=socket(AF_NETLINK,SOCK_RAW,NETLINK_ROUTE); struct sockaddr_nl snl={.nl_family=AF_NETLINK,.nl_groups=0}; bind(nl,(void*)&snl,sizeof snl); n=sizeof snl; getsockname(nl,(void*)&snl,&n);
 int pk=socket(AF_PACKET,SOCK_RAW,htons(ETH_P_ALL)); struct sockaddr_ll ll={.sll_family=AF_PACKET,.sll_protocol=htons(ETH_P_IP),.sll_ifindex=1}; bind(pk,(void*)&ll,sizeof ll); n=sizeof ss; getsockname(pk,(void*)&ss,&n);
 connect(c,(void*)1,16); connect(-1,(void*)&a,sizeof a); connect(c,(void*)&a,3); struct sockaddr un0={.sa_family=AF_UNSPEC}; connect(c,&un0,sizeof un0); connect(c,(void*)&a,1000); bind(x,0,0); socket(77,5,3); socket(AF_INET,SOCK_RAW,IPPROTO_ICMP); socket(AF_INET,99,0);socket(AF_INET6,SOCK_DGRAM,IPPROTO_UDPLITE);
 shutdown(x,7); int nb=socket(AF_INET,SOCK_STREAM|SOCK_NONBLOCK,0); fcntl(l,F_SETFL,O_NONBLOCK); accept(l,0,0); accept4(l,0,0,77); connect(nb,(void*)&a,sizeof a); struct pollfd pf={nb,POLLOUT}; poll(&pf,1,1000); v4=0;n=4; getsockopt(nb,SOL_SOCKET,SO_ERROR,&v4,&n); int acc=accept(l,0,0); write(nb,"abc",3); poll(&(struct pollfd){acc,POLLIN},1,1000); recv(acc,buf,3,MSG_PEEK); recv(acc,buf,2,0); recv(acc,buf,10,0); close(nb); recv(acc,buf,10,0); send(acc,"x",1,MSG_NOSIGNAL); usleep(20000); send(acc,"x",1,MSG_NOSIGNAL); send(acc,"x",1,MSG_NOSIGNAL); int cl=socket(AF_INET,SOCK_STREAM,0); a.sin_port=htons(1); connect(cl,(void*)&a,sizeof a); return 0;}
